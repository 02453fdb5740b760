//! docs/reference/configuration.md: deployer.toml.example as tables.

use crate::reference::{check, read, row};

const EXAMPLE: &str = include_str!("../../deployer.toml.example");

/// What the example says of a value that is no default.
const EXAMPLES: [&str; 2] = ["(example; ", "(examples; "];

#[test]
fn the_reference_has_every_key_of_the_example() {
    let keys = EXAMPLE.lines().filter(|line| key(line).is_some()).count();
    let made = made();

    // Each key has a row of its own, so that none was taken for a text.
    let rows = made.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, keys, "{made}");
    check("configuration.md", "keys", &made);
}

#[test]
fn the_limits_of_the_proxy_have_its_timeouts() {
    let page = read("http.md");
    let proxy = super::defaults::settings().proxy;
    for (key, default) in [
        ("header_timeout", proxy.header_timeout),
        ("idle_timeout", proxy.idle_timeout),
        ("body_timeout", proxy.body_timeout),
        ("response_timeout", proxy.response_timeout),
    ] {
        let wanted = format!("`{key}` ({} s", default.as_secs());
        assert!(page.contains(&wanted), "docs/reference/http.md lacks {wanted}");
    }
}

fn made() -> String {
    let mut made = String::new();
    let (mut texts, mut last_text, mut in_table) = (Vec::new(), String::new(), false);
    let mut is_example = false;
    made += "\n## At the top of the file\n";
    // The first lines are about the file itself, which the page says in its own words.
    for line in EXAMPLE.lines().skip_while(|line| !line.is_empty()) {
        if let Some(section) = section(line) {
            made += &format!("\n## `{section}`\n");
            (last_text, in_table) = (String::new(), false);
            is_example = texts.iter().any(|text: &&str| text.contains(EXAMPLES[0]));
            paragraph(&mut made, &mut texts);
        } else if let Some((key, value)) = key(line) {
            if !in_table {
                made += "\n| Key | Default | |\n|---|---|---|\n";
                in_table = true;
            }
            if !texts.is_empty() {
                last_text = texts.drain(..).map(with_links).collect::<Vec<_>>().join(" ");
            }
            made += &of_key(key, value, &last_text, is_example);
        } else if let Some(text) = line.strip_prefix("# ") {
            texts.push(text);
        }
    }
    made
}

/// The comment above a section is about it.
fn paragraph(made: &mut String, texts: &mut Vec<&str>) {
    if !texts.is_empty() {
        *made += &format!("\n{}\n", texts.join("\n"));
        texts.clear();
    }
}

/// Pages that a text names become links.
fn with_links(text: &str) -> String {
    let word = |word: &str| {
        let page = word.strip_prefix("docs/").and_then(|page| page.split_once(".md"));
        page.map_or(word.to_owned(), |(page, rest)| {
            format!("[docs/{page}.md](../{page}.md){rest}")
        })
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn of_key(key: &str, value: &str, text: &str, is_example: bool) -> String {
    let key = format!("`{key}`");
    let value = format!("`{value}`");
    let example = EXAMPLES.iter().find_map(|mark| {
        let (before, rest) = text.split_once(mark)?;
        let (default, after) = rest.split_once(')')?;
        let text = format!("{}{after}", before.trim_end());
        let default = default
            .trim_start_matches("the default is ")
            .replace("no default", "none");
        Some((default, format!("{text} Example: {value}")))
    });
    match example {
        Some((default, text)) => row([&key, &default, &text]),
        None if is_example => row([&key, "none", &format!("{text} Example: {value}")]),
        None if text.is_empty() => row([&key, "Debian's way", &format!("Example: {value}")]),
        None => row([&key, &value, text]),
    }
}

fn section(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').unwrap_or(line);
    line.starts_with('[').then_some(line)
}

fn key(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix('#')?;
    let begins = rest.starts_with(|c: char| c.is_ascii_lowercase());
    rest.split_once(" = ").filter(|_| begins)
}
