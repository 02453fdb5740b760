//! docs/reference/commands.md and exit-codes.md: what the command line says of itself.

use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

use super::failure::Code;
use crate::reference::{check, read, row};

#[test]
fn the_reference_has_every_command_and_option() {
    let mut root = super::arguments::Cli::command().disable_help_subcommand(true);
    root.build();
    let leaves = leaves(&root, "deployer");
    let mut overview = row(["Command", ""]) + &row(["---"; 2]);
    for (name, leaf) in &leaves {
        let anchor = name.replace(' ', "-");
        overview += &row([&format!("[`{name}`](#{anchor})"), &about(leaf)]);
    }
    let mut options = row(["Option", ""]) + &row(["---"; 2]);
    for arg in root.get_arguments().filter(|arg| arg.is_global_set()) {
        options += &row([&written(arg), &meaning(arg)]);
    }
    let every = leaves.iter().map(|(name, leaf)| section(name, leaf));
    check("commands.md", "overview", &overview);
    check("commands.md", "options of all", &options);
    check("commands.md", "every command", &every.collect::<String>());
}

#[test]
fn the_reference_has_every_exit_code() {
    let rows = Code::meanings().map(|(code, meaning)| row([&code.to_string(), meaning]));
    let table = row(["Exit code", "Meaning"]) + &row(["---"; 2]) + &rows.collect::<String>();
    check("exit-codes.md", "exit codes", &table);
}

#[test]
fn the_reference_names_every_command_that_prints_json() {
    let mut root = super::arguments::Cli::command().disable_help_subcommand(true);
    root.build();
    let page = read("json.md");
    for (name, leaf) in leaves(&root, "deployer") {
        let prints = leaf.get_arguments().any(|arg| arg.get_id() == "json");
        let named = page.contains(&format!("`{name} --json`"));
        assert_eq!(prints, named, "docs/reference/json.md and `{name} --json`");
    }
}

#[test]
fn the_documents_name_no_command_and_no_option_that_is_not_there() {
    let mut root = super::arguments::Cli::command();
    root.build();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for command in commands(&document) {
            seen += 1;
            wrong.extend(fault(&root, command).map(|word| format!("{word} in: deployer {command}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 100, "only {seen} commands were found");
}

/// The pages that people read from the beginning to the end.
fn documents() -> impl Iterator<Item = String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["docs", "docs/guides"].into_iter();
    let pages =
        folders.flat_map(move |folder| fs::read_dir(top.join(folder)).expect("a folder of documents"));
    let pages = pages.map(|page| page.expect("an entry").path());
    let pages = pages.filter(|page| page.extension().is_some_and(|end| end == "md"));
    let others = ["README.md", "SECURITY.md"].map(|page| top.join(page));
    pages
        .chain(others)
        .map(|page| fs::read_to_string(page).expect("a page"))
}

/// What follows `deployer` or `ssh deploy@server` in code.
fn commands(document: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    document.lines().flat_map(move |line| {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        }
        let code: Vec<&str> = match is_fenced {
            true => vec![line.trim_start().trim_start_matches(['$', '#']).trim_start()],
            false => line.split('`').skip(1).step_by(2).collect(),
        };
        let begins = [
            "deployer ",
            "./deployer ",
            "target/release/deployer ",
            "ssh deploy@server ",
        ];
        code.into_iter().filter_map(move |code| {
            let rest = begins.iter().find_map(|begin| code.strip_prefix(begin))?;
            rest.split([';', '<', '|', '#', '…', '(']).next()
        })
    })
}

/// The first word of a command that means nothing. Words in capitals stand for others.
fn fault<'a>(root: &Command, words: &'a str) -> Option<&'a str> {
    let mut command = root;
    for word in words.split_whitespace() {
        let flag = word.split('=').next().unwrap_or(word);
        if let Some(long) = flag.strip_prefix("--") {
            let is_there = command.get_arguments().any(|arg| arg.get_long() == Some(long));
            if !is_there && !["help", "version"].contains(&long) {
                return Some(word);
            }
        } else if let Some(short) = flag.strip_prefix('-') {
            if !command
                .get_arguments()
                .any(|arg| arg.get_short().is_some_and(|known| short.starts_with(known)))
            {
                return Some(word);
            }
        } else if command.has_subcommands() && !word.chars().all(char::is_uppercase) {
            match command.find_subcommand(word) {
                Some(sub) => command = sub,
                None => return Some(word),
            }
        }
    }
    None
}

/// The commands that do something, each with its whole name.
fn leaves<'a>(command: &'a Command, name: &str) -> Vec<(String, &'a Command)> {
    let mut subs = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .peekable();
    match subs.peek() {
        None => vec![(name.to_owned(), command)],
        Some(_) => subs
            .flat_map(|sub| leaves(sub, &format!("{name} {}", sub.get_name())))
            .collect(),
    }
}

fn section(name: &str, command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut text = format!("### {name}\n\n```text\n{usage}\n```\n\n{}\n", said_of(command));
    let mut args = command
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && !is_everywhere(arg))
        .peekable();
    if args.peek().is_some() {
        text += "\n| Argument | |\n|---|---|\n";
    }
    for arg in args {
        text += &row([&written(arg), &meaning(arg)]);
    }
    text + "\n"
}

/// `-h` and `-V` are every command's.
fn is_everywhere(arg: &Arg) -> bool {
    ["help", "version"].contains(&arg.get_id().as_str())
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// All that a command says of itself, in lines of at most 120 characters.
fn said_of(command: &Command) -> String {
    let text = command.get_long_about().or(command.get_about());
    let text = text.map(ToString::to_string).unwrap_or_default();
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| wrapped(paragraph, 120))
        .collect();
    paragraphs.join("\n\n")
}

fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            *last += if last.is_empty() { "" } else { " " };
            *last += word;
        }
    }
    lines.join("\n")
}

/// An argument as one writes it: `-n, --limit N`.
fn written(arg: &Arg) -> String {
    let value = arg.get_action().takes_values().then(|| {
        let names = arg.get_value_names().unwrap_or_default();
        names
            .first()
            .map_or_else(|| arg.get_id().to_string().to_uppercase(), ToString::to_string)
    });
    let flags = [
        arg.get_short().map(|short| format!("-{short}")),
        arg.get_long().map(|long| format!("--{long}")),
    ];
    let flags: Vec<String> = flags.into_iter().flatten().collect();
    let parts = [(!flags.is_empty()).then(|| flags.join(", ")), value];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("`{}`", parts.join(" "))
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    let values: Vec<String> = values
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if arg.get_action().takes_values() && !values.is_empty() {
        text += &format!(": {}", values.join(", "));
    }
    let defaults = arg.get_default_values();
    if let (true, [default]) = (arg.get_action().takes_values(), defaults) {
        text += &format!(" (default: `{}`)", default.to_string_lossy());
    }
    text
}
