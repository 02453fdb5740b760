//! docs/reference/compose.md: what becomes of each key, and the databases that are known.

use super::keys::{ALL, Fate, Table};
use super::known::KNOWN;
use crate::reference::{check, row};

#[test]
fn the_reference_has_every_key_of_a_compose_file_and_every_known_database() {
    let parts = ALL.iter().map(|table| section(table));
    check("compose.md", "keys", &parts.collect::<String>());
    let header = row([
        "Program",
        "Images, by the last part of their name",
        "Ports",
        "Volumes at, or below",
    ]);
    let rows = KNOWN.iter().map(|known| {
        let code = |words: &[&str]| {
            words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let ports: Vec<String> = known.ports.iter().map(u16::to_string).collect();
        row([
            known.name,
            &code(known.images),
            &ports.join(", "),
            &code(known.targets),
        ])
    });
    check(
        "compose.md",
        "databases",
        &(header + &row(["---"; 4]) + &rows.collect::<String>()),
    );
}

fn section(table: &Table) -> String {
    let title = match table.name {
        "" => "At the top of the file".to_owned(),
        name => name
            .split(", ")
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" and "),
    };
    let rows = table.rows.iter().map(|(key, fate)| {
        let (fate, text) = match fate {
            Fate::Taken(becomes) => ("taken", (*becomes).to_owned()),
            Fate::Ignored(why) => ("ignored", (*why).to_owned()),
            Fate::Refused(why, instead) => ("**refused**", format!("{why}; write {instead}")),
        };
        row([&format!("`{key}`"), fate, &text])
    });
    let rows: String = rows.collect();
    format!(
        "\n### {title}\n\n{}{}{rows}",
        row(["Key", "", ""]),
        row(["---"; 3])
    )
}
