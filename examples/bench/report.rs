//! What was measured, as a Markdown table and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Samples of one quantity, in the order in which they were taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(pub(crate) Vec<f64>);

impl Samples {
    /// The middle one, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    fn min(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    fn max(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// Each sample divided by the other's of the same round.
    fn divided_by(&self, other: &Samples) -> Samples {
        Samples(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(ours, theirs)| ours / theirs)
                .collect(),
        )
    }

    fn told(&self, unit: &str) -> String {
        match self.0.as_slice() {
            [] => "–".to_owned(),
            [one] => format!("{} {unit}", number(*one)),
            _ => format!(
                "{} {unit} ({} – {})",
                number(self.median()),
                number(self.min()),
                number(self.max())
            ),
        }
    }

    fn json(&self) -> Value {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let samples: Vec<f64> = self.0.iter().copied().map(rounded).collect();
        json!({
            "median": rounded(self.median()), "min": rounded(self.min()), "max": rounded(self.max()), "samples": samples,
        })
    }
}

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// The ratio is at most this.
    Ratio(f64),
    /// deployer's own value is below this.
    Below(f64),
    /// Every sample of deployer's own value is zero.
    Zero,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// What was measured.
    pub(crate) what: &'static str,
    /// In which unit: `ms`, `MiB`, `µs`.
    pub(crate) unit: &'static str,
    /// What deployer takes.
    pub(crate) ours: Samples,
    /// What it is compared with, and what that takes.
    pub(crate) against: Option<(&'static str, Samples)>,
    /// What is to be reached.
    pub(crate) goal: Goal,
}

impl Line {
    fn ratios(&self) -> Option<Samples> {
        let (_, against) = self.against.as_ref()?;
        Some(self.ours.divided_by(against))
    }

    fn is_reached(&self) -> bool {
        match self.goal {
            Goal::Ratio(most) => self.ratios().is_some_and(|ratios| ratios.median() <= most),
            Goal::Below(limit) => self.ours.median() < limit,
            Goal::Zero => self.ours.max() == 0.0,
        }
    }

    fn goal_told(&self) -> String {
        match self.goal {
            Goal::Ratio(most) => format!("ratio ≤ {most:.2}"),
            Goal::Below(limit) => format!("< {} {}", number(limit), self.unit),
            Goal::Zero => format!("0 {}", self.unit),
        }
    }

    fn row(&self) -> String {
        let ratio = self
            .ratios()
            .map_or("–".to_owned(), |ratios| match ratios.0.len() {
                1 => format!("**{:.2}**", ratios.median()),
                _ => format!(
                    "**{:.2}** ({:.2} – {:.2})",
                    ratios.median(),
                    ratios.min(),
                    ratios.max()
                ),
            });
        let against = self.against.as_ref().map_or("–".to_owned(), |(name, samples)| {
            format!("{name}: {}", samples.told(self.unit))
        });
        let reached = if self.is_reached() { "yes" } else { "**no**" };
        let (goal, ours) = (self.goal_told(), self.ours.told(self.unit));
        format!(
            "| {} | {ratio} | {goal} | {reached} | {ours} | {against} |",
            self.what
        )
    }

    fn json(&self) -> Value {
        let goal = match self.goal {
            Goal::Ratio(most) => json!({ "ratio_at_most": most }),
            Goal::Below(limit) => json!({ "below": limit }),
            Goal::Zero => json!({ "equals": 0 }),
        };
        let against = self.against.as_ref().map(|(name, samples)| {
            let mut told = samples.json();
            told["name"] = json!(name);
            told
        });
        json!({
            "what": self.what, "unit": self.unit, "goal": goal, "reached": self.is_reached(),
            "ratio": self.ratios().map(|ratios| ratios.json()), "deployer": self.ours.json(), "against": against,
        })
    }
}

/// A table that stands below the lines.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) heading: &'static str,
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    tables: Vec<Table>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a line, and says it at once on stderr.
    pub(crate) fn line(&mut self, line: Line) {
        eprintln!("{}", line.row());
        self.lines.push(line);
    }

    pub(crate) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Adds a sentence, for what could not be measured.
    pub(crate) fn note(&mut self, note: String) {
        eprintln!("{note}");
        self.notes.push(note);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut told = String::from(
            "| what | ratio | goal | reached | deployer: median (min – max) | against: median (min – max) |\n\
             |---|---|---|---|---|---|\n",
        );
        for line in &self.lines {
            let _ = writeln!(told, "{}", line.row());
        }
        for table in &self.tables {
            let _ = writeln!(told, "\n{}\n\n| {} |", table.heading, table.columns.join(" | "));
            let _ = writeln!(told, "|{}", "---|".repeat(table.columns.len()));
            for row in &table.rows {
                let _ = writeln!(told, "| {} |", row.join(" | "));
            }
        }
        for note in &self.notes {
            let _ = writeln!(told, "\n{note}");
        }
        told
    }

    pub(crate) fn json(&self) -> String {
        let tables = self
            .tables
            .iter()
            .map(|table| json!({ "heading": table.heading, "columns": table.columns, "rows": table.rows }));
        let report = json!({
            "version": 1,
            "lines": self.lines.iter().map(Line::json).collect::<Vec<_>>(),
            "tables": tables.collect::<Vec<_>>(),
            "notes": self.notes,
        });
        format!("{report:#}\n")
    }
}

/// As many digits as say something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 || middle == 0.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
