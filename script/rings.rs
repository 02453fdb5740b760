//! Prints the rings in which modules of a crate import each other, and exits with 1 when there is one.
//!
//! `rings SRC [EXCEPTION…]`: the folder of the crate's root, and folders of it whose rings are known. A module is a file; what
//! it takes through another one's `pub use` is taken from where it stands. Tests are left out. A folder's ring is looked for,
//! too: among those beside each other at the root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Names from the crate's root on.
type Module = Vec<String>;

/// How many re-exports are followed to where a thing stands.
const HOPS: usize = 8;

#[derive(Default)]
struct Source {
    /// Paths that it names, as written.
    uses: BTreeSet<Vec<String>>,
    /// What it re-exports: the name that it gives it, and the path.
    exports: BTreeMap<String, Vec<String>>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().expect("rings SRC [EXCEPTION…]"));
    let exceptions: Vec<Module> = arguments
        .map(|path| path.split('/').map(str::to_owned).collect())
        .collect();
    let mut sources = BTreeMap::new();
    read(&root, &mut Vec::new(), &mut sources);
    let mut edges = edges(&sources);
    let mut found = 0;
    for ring in rings(&edges) {
        if !exceptions
            .iter()
            .any(|folder| ring.iter().all(|module| module.starts_with(folder)))
        {
            found += 1;
            println!("a ring of {} modules:", ring.len());
            tell(&ring, &edges);
        }
    }
    edges = folders(&edges);
    for ring in rings(&edges) {
        found += 1;
        println!("a ring of {} folders:", ring.len());
        tell(&ring, &edges);
    }
    match found {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Reads the modules of a folder and of those in it.
fn read(folder: &Path, module: &mut Module, sources: &mut BTreeMap<Module, Source>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        if path.is_dir() {
            module.push(stem.to_owned());
            read(&path, module, sources);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !is_of_tests(stem)
            && stem != "main"
        {
            let mut own = module.clone();
            if !matches!(stem, "mod" | "lib") {
                own.push(stem.to_owned());
            }
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            sources.insert(own, source(&text));
        }
    }
}

fn is_of_tests(stem: &str) -> bool {
    stem == "tests" || stem.ends_with("_tests") || stem.starts_with("fuzzing")
}

/// What a file's text takes and gives on.
fn source(text: &str) -> Source {
    let mut source = Source::default();
    let code = words(&without_tests(text));
    let mut at = 0;
    while at < code.len() {
        // `use<'a>` in a type is no import.
        if code[at] == "use" && code.get(at + 1).is_some_and(|next| is_name(next) || next == "{") {
            let is_export =
                at > 0 && (code[at - 1] == "pub" || code[at - 1] == ")" && is_visibility(&code[..at]));
            let mut paths = Vec::new();
            at = tree(&code, at + 1, &mut Vec::new(), &mut paths);
            for (path, name) in paths {
                if is_export {
                    source.exports.insert(name, path);
                } else {
                    source.uses.insert(path);
                }
            }
        } else if is_name(&code[at])
            && code.get(at + 1).is_some_and(|next| next == "::")
            && (at == 0 || code[at - 1] != "::")
        {
            let mut path = vec![code[at].clone()];
            at += 1;
            while at + 1 < code.len() && code[at] == "::" && is_name(&code[at + 1]) {
                path.push(code[at + 1].clone());
                at += 2;
            }
            source.uses.insert(path);
        } else {
            at += 1;
        }
    }
    source
}

/// Whether these words end in `pub(…)`, of which anything may stand in the brackets.
fn is_visibility(code: &[String]) -> bool {
    let open = code.iter().rposition(|word| word == "(");
    open.is_some_and(|open| open > 0 && code[open - 1] == "pub")
}

/// Reads a tree of imports, which begins at `at`; gives where it ends.
fn tree(
    code: &[String],
    mut at: usize,
    before: &mut Vec<String>,
    paths: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let length = before.len();
    while at < code.len() {
        match code[at].as_str() {
            "{" => {
                at += 1;
                while at < code.len() && code[at] != "}" {
                    at = tree(code, at, before, paths);
                    match code.get(at).map(String::as_str) {
                        Some(",") => at += 1,
                        Some("}") => {}
                        other => panic!("{other:?} in an import"),
                    }
                }
                before.truncate(length);
                return at + 1;
            }
            "::" => {}
            "as" => {
                let name = code[at + 1].clone();
                paths.push((before.clone(), name));
                before.truncate(length);
                return at + 2;
            }
            "," | ";" | "}" => break,
            // `a::{self}` is `a`.
            "self" if before.len() > length.saturating_sub(1) && !before.is_empty() => {}
            word => before.push(word.to_owned()),
        }
        at += 1;
    }
    if let Some(name) = before.last().cloned() {
        paths.push((before.clone(), name));
    }
    before.truncate(length);
    at
}

/// Names, `::` and single signs, without comments and texts.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => text_length(rest),
            'r' if rest.starts_with("r\"") => rest[2..].find('"').map_or(rest.len(), |end| end + 3),
            'r' if rest.starts_with("r#\"") => rest.find("\"#").map_or(rest.len(), |end| end + 2),
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\\"'") => 4,
            _ if first.is_alphabetic() || first == '_' => {
                let end = rest.find(|sign: char| !sign.is_alphanumeric() && sign != '_');
                let length = end.unwrap_or(rest.len());
                words.push(rest[..length].to_owned());
                length
            }
            _ if rest.starts_with("::") => {
                words.push("::".to_owned());
                2
            }
            _ => {
                if !first.is_whitespace() {
                    words.push(first.to_string());
                }
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    words
}

/// How long the text in quotes is that `rest` begins with.
fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, sign) in rest.char_indices().skip(1) {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The text without the modules that only tests have, which stand at a file's end.
fn without_tests(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].replace("#[cfg(test)]\nuse ", "// ")
}

fn is_name(word: &str) -> bool {
    word.starts_with(|sign: char| sign.is_alphabetic() || sign == '_')
}

fn edges(sources: &BTreeMap<Module, Source>) -> BTreeMap<Module, BTreeSet<Module>> {
    let targets = |module: &Module, source: &Source| -> BTreeSet<Module> {
        let found = source
            .uses
            .iter()
            .filter_map(|path| resolve(sources, module, path, HOPS));
        found.filter(|target| target != module).collect()
    };
    sources
        .iter()
        .map(|(module, source)| (module.clone(), targets(module, source)))
        .collect()
}

/// The module in which the thing stands that `path` names in `module`; none of another crate's.
fn resolve(
    sources: &BTreeMap<Module, Source>,
    module: &Module,
    path: &[String],
    hops: usize,
) -> Option<Module> {
    let mut names = path.iter();
    let first = names.next()?;
    let mut at = match first.as_str() {
        "crate" => Module::new(),
        "self" => module.clone(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        name => {
            let mut child = module.clone();
            child.push(name.to_owned());
            if !sources.contains_key(&child) {
                return None;
            }
            child
        }
    };
    for name in names {
        if name == "super" {
            at.pop();
            continue;
        }
        let mut child = at.clone();
        child.push(name.clone());
        if sources.contains_key(&child) {
            at = child;
            continue;
        }
        if let Some(export) = sources.get(&at).and_then(|source| source.exports.get(name))
            && hops > 0
            && let Some(found) = resolve(sources, &at, export, hops - 1)
        {
            return Some(found);
        }
        break;
    }
    Some(at)
}

/// The same between the folders and files at the root.
fn folders(edges: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut folders: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, targets) in edges.iter().filter(|(from, _)| !from.is_empty()) {
        let own = from[..1].to_vec();
        let others = targets.iter().filter(|to| !to.is_empty() && to[0] != own[0]);
        folders
            .entry(own.clone())
            .or_default()
            .extend(others.map(|to| to[..1].to_vec()));
    }
    folders
}

/// The modules that reach each other, those of one ring together.
fn rings(edges: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<Module>> {
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        edges.keys().map(|from| (from, reached(edges, from))).collect();
    let mut seen = BTreeSet::new();
    let mut rings = Vec::new();
    for (&from, reached) in &reach {
        if reached.contains(from) && !seen.contains(from) {
            let ring: Vec<Module> = reached
                .iter()
                .filter(|to| reach.get(*to).is_some_and(|back| back.contains(from)))
                .map(|&to| to.clone())
                .collect();
            seen.extend(
                ring.iter()
                    .cloned()
                    .filter_map(|module| reach.get_key_value(&module).map(|(key, _)| *key)),
            );
            rings.push(ring);
        }
    }
    rings
}

fn reached<'a>(edges: &'a BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut ahead: Vec<&Module> = edges[from].iter().collect();
    while let Some(module) = ahead.pop() {
        if reached.insert(module) {
            ahead.extend(edges.get(module).into_iter().flatten());
        }
    }
    reached
}

fn tell(ring: &[Module], edges: &BTreeMap<Module, BTreeSet<Module>>) {
    for module in ring {
        let to = edges[module]
            .iter()
            .filter(|to| ring.contains(to))
            .map(|to| to.join("/"));
        println!("  {} → {}", module.join("/"), to.collect::<Vec<_>>().join(", "));
    }
}
