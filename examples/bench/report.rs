//! What was measured, as Markdown and as JSON.

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

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// Each sample divided by the other's of the same round.
    pub(crate) fn divided_by(&self, other: &Samples) -> Samples {
        self.with(other, |ours, theirs| ours / theirs)
    }

    /// What `combine` makes of each sample and the other's of the same round.
    pub(crate) fn with(&self, other: &Samples, combine: impl Fn(f64, f64) -> f64) -> Samples {
        let pairs = self.0.iter().zip(&other.0);
        Samples(pairs.map(|(ours, theirs)| combine(*ours, *theirs)).collect())
    }

    /// `12.3 (11.0 – 14.2)`: the median, the smallest, the largest.
    pub(crate) fn told(&self) -> String {
        match self.0.as_slice() {
            [] => "–".to_owned(),
            [one] => number(*one),
            _ => format!(
                "{} ({} – {})",
                number(self.median()),
                number(self.min()),
                number(self.max())
            ),
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

    fn json(&self) -> Value {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let samples: Vec<f64> = self.0.iter().copied().map(rounded).collect();
        json!({
            "median": rounded(self.median()), "min": rounded(self.min()), "max": rounded(self.max()), "samples": samples,
        })
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// The ratio is at most this.
    Ratio(f64),
    /// deployer's own value is at most this.
    AtMost(f64),
    /// Every sample of deployer's own value is zero.
    Zero,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    what: String,
    unit: &'static str,
    ours: Samples,
    against: Option<(String, Samples)>,
    goal: Option<Goal>,
}

impl Line {
    /// `ours` is what deployer takes, in `unit`.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, ours: &Samples) -> Self {
        Self {
            what: what.into(),
            unit,
            ours: ours.clone(),
            against: None,
            goal: None,
        }
    }

    /// What it is compared with, and what that takes in the same rounds.
    pub(crate) fn against(self, name: impl Into<String>, samples: &Samples) -> Self {
        Self {
            against: Some((name.into(), samples.clone())),
            ..self
        }
    }

    /// To be reached: a ratio of at most this.
    pub(crate) fn ratio_at_most(self, most: f64) -> Self {
        self.with_goal(Goal::Ratio(most))
    }

    /// To be reached: a median of at most this.
    pub(crate) fn at_most(self, most: f64) -> Self {
        self.with_goal(Goal::AtMost(most))
    }

    /// To be reached: zero, in every sample.
    pub(crate) fn zero(self) -> Self {
        self.with_goal(Goal::Zero)
    }

    fn with_goal(self, goal: Goal) -> Self {
        Self {
            goal: Some(goal),
            ..self
        }
    }

    /// None where nothing is compared, or where it is with zero.
    fn ratios(&self) -> Option<Samples> {
        let (_, against) = self.against.as_ref()?;
        let ratios = self.ours.divided_by(against);
        let say_something = !ratios.0.is_empty() && ratios.0.iter().all(|ratio| ratio.is_finite());
        say_something.then_some(ratios)
    }

    fn is_reached(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::Ratio(most) => self.ratios().is_some_and(|ratios| ratios.median() <= most),
            Goal::AtMost(limit) => self.ours.median() <= limit,
            Goal::Zero => self.ours.max() == 0.0,
        })
    }

    fn row(&self) -> String {
        let none = || "–".to_owned();
        let ratio = self
            .ratios()
            .map_or_else(none, |ratios| bold_first(&ratios.told()));
        let goal = match self.goal {
            None => none(),
            Some(Goal::Ratio(most)) => format!("ratio ≤ {most:.2}"),
            Some(Goal::AtMost(limit)) => format!("≤ {} {}", number(limit), self.unit),
            Some(Goal::Zero) => "0".to_owned(),
        };
        let reached = match self.is_reached() {
            None => "–",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        let against = self.against.as_ref().map_or_else(none, |(name, samples)| {
            format!("{name}: {} {}", samples.told(), self.unit)
        });
        let (what, ours, unit) = (&self.what, self.ours.told(), self.unit);
        format!("| {what} | {ratio} | {goal} | {reached} | {ours} {unit} | {against} |")
    }

    fn json(&self) -> Value {
        let goal = self.goal.map(|goal| match goal {
            Goal::Ratio(most) => json!({ "ratio_at_most": most }),
            Goal::AtMost(limit) => json!({ "at_most": limit }),
            Goal::Zero => json!({ "equals": 0 }),
        });
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

/// The median stands out from what is beside it.
fn bold_first(told: &str) -> String {
    match told.split_once(' ') {
        Some((median, rest)) => format!("**{median}** {rest}"),
        None => format!("**{told}**"),
    }
}

/// A table of figures that stands below the lines.
#[derive(Debug)]
pub(crate) struct Table {
    heading: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// What stands in a table.
#[derive(Debug)]
pub(crate) enum Cell {
    Text(String),
    Figure(Samples),
}

impl Table {
    pub(crate) fn new(heading: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            heading: heading.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// One row: words first, then figures; none of a figure's samples means that there is no such figure.
    pub(crate) fn row<'a>(
        &mut self,
        words: impl IntoIterator<Item = &'a str>,
        figures: impl IntoIterator<Item = Samples>,
    ) {
        let words = words.into_iter().map(|word| Cell::Text(word.to_owned()));
        let cells = words.chain(figures.into_iter().map(Cell::Figure));
        self.rows.push(cells.collect());
    }

    fn markdown(&self) -> String {
        let mut told = format!("{}\n\n| {} |\n", self.heading, self.columns.join(" | "));
        let _ = writeln!(told, "|{}", "---|".repeat(self.columns.len()));
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(Cell::told).collect();
            let _ = writeln!(told, "| {} |", cells.join(" | "));
        }
        told
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter();
        let rows: Vec<Vec<Value>> = rows.map(|row| row.iter().map(Cell::json).collect()).collect();
        json!({ "heading": self.heading, "columns": self.columns, "rows": rows })
    }
}

impl Cell {
    fn told(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Figure(samples) => samples.told(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Cell::Text(text) => json!(text),
            Cell::Figure(samples) if samples.0.is_empty() => Value::Null,
            Cell::Figure(samples) => samples.json(),
        }
    }
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

    /// Adds a table, and says it at once on stderr.
    pub(crate) fn table(&mut self, table: Table) {
        eprintln!("\n{}", table.markdown());
        self.tables.push(table);
    }

    /// Adds a sentence.
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
            let _ = write!(told, "\n{}", table.markdown());
        }
        for note in &self.notes {
            let _ = writeln!(told, "\n{note}");
        }
        told
    }

    pub(crate) fn json(&self) -> String {
        let report = json!({
            "version": 2,
            "lines": self.lines.iter().map(Line::json).collect::<Vec<_>>(),
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
            "notes": self.notes,
        });
        format!("{report:#}\n")
    }
}

/// As many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        0.0 => "0".to_owned(),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
