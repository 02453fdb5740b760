//! Plants faults in a copy of this checkout, one at a time, and demands that a test fails on each: see script/mutants.
//!
//! `mutants WORK [--list | --check | --no-baseline] [NAME…]`, in the checkout's folder; WORK is for the copy, what is built
//! and the logs. A fault is a table `[[fault]]` of a file in tests/mutants/:
//!
//! - `name`: what it does to the program.
//! - `promise`: how the row of docs/promises.md begins that it breaks.
//! - `test`: the test that must fail, in a file or folder that the row names.
//! - `file`, `take`, `put`: where, the text that goes, which is there once, and what comes in its place.
//! - `env` (may be left out): a variable for the test, as NAME=VALUE.
//! - `unseen` (else left out): why nobody has seen the test catch it yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const TABLES: &str = "tests/mutants";
const PROMISES: &str = "docs/promises.md";
const KEYS: [&str; 8] = ["name", "promise", "test", "file", "take", "put", "env", "unseen"];
/// Seconds that building and running one test may take.
const LIMIT: &str = "1500";
/// Exit codes of nextest: a test failed, the build failed.
const TEST_FAILED: i32 = 100;
const BUILD_FAILED: i32 = 101;

type Keys = BTreeMap<String, String>;

struct Fault {
    name: String,
    promise: String,
    test: String,
    file: String,
    take: String,
    put: String,
    env: Option<String>,
    is_unseen: bool,
    /// What cargo has to build for the test, as `--lib` or `--test proxy`.
    program: String,
}

/// A row of docs/promises.md.
struct Promise {
    text: String,
    /// The files and folders of its tests.
    places: Vec<String>,
}

/// A file of the tests or of the program, with its text.
type Sources = Vec<(String, String)>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let work = PathBuf::from(arguments.next().expect("mutants WORK [NAME…]"));
    let (options, names): (Vec<_>, Vec<_>) = arguments.partition(|argument| argument.starts_with("--"));
    let mut bad = Vec::new();
    let promises = promises();
    let faults = faults(&promises, &mut bad);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    for line in &bad {
        eprintln!("{line}");
    }
    let chosen: Vec<&Fault> = faults.iter().filter(|fault| fault.is_one_of(&names)).collect();
    if !bad.is_empty() || chosen.is_empty() {
        eprintln!(
            "mutants: {} rows are wrong, {} are chosen",
            bad.len(),
            chosen.len()
        );
        return ExitCode::FAILURE;
    }
    let is_well = match options[..] {
        ["--check"] => true,
        ["--list"] => {
            for fault in &chosen {
                println!("{:<44} {} {}", fault.name, fault.program, fault.test);
            }
            true
        }
        [] => run(&work, &chosen, true),
        ["--no-baseline"] => run(&work, &chosen, false),
        _ => {
            eprintln!("mutants: unknown options: {}", options.join(" "));
            false
        }
    };
    if options != ["--list"] {
        println!("{}", coverage(&promises, &faults));
    }
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Fault {
    fn is_one_of(&self, names: &[String]) -> bool {
        names.is_empty() || names.iter().any(|name| self.name.starts_with(name.as_str()))
    }

    /// nextest's words for the test alone.
    fn filter(&self) -> String {
        format!("test(/(^|::){}$/)", self.test)
    }
}

/// How many promises have a fault that was caught, and which have none.
fn coverage(promises: &[Promise], faults: &[Fault]) -> String {
    let has = |promise: &Promise, unseen: bool| {
        let mut all = faults.iter().filter(|fault| unseen || !fault.is_unseen);
        all.any(|fault| promise.text.starts_with(&fault.promise))
    };
    let count = |unseen| promises.iter().filter(|promise| has(promise, unseen)).count();
    let mut told = format!(
        "mutants: {} of {} promises have a fault, {} one that its test was seen to catch",
        count(true),
        promises.len(),
        count(false)
    );
    for promise in promises.iter().filter(|promise| !has(promise, true)) {
        let short: String = promise.text.chars().take(90).collect();
        let _ = write!(told, "\n  none: {short}");
    }
    told
}

/// Runs the tests as they are, then with each fault, and prints a table. Whether every fault was caught.
fn run(work: &Path, faults: &[&Fault], with_baseline: bool) -> bool {
    let copy = work.join("tree");
    copy_checkout(&copy);
    fs::create_dir_all(work.join("logs")).expect("a folder for the logs");
    if with_baseline && !baseline(work, faults) {
        return false;
    }
    let mut table = String::new();
    let mut caught = 0;
    for (at, fault) in faults.iter().enumerate() {
        let path = copy.join(&fault.file);
        let text = read(&path);
        fs::write(&path, text.replacen(&fault.take, &fault.put, 1)).expect("the fault is planted");
        let began = Instant::now();
        let code = test(work, &fault.name, fault, &fault.filter());
        fs::write(&path, text).expect("the fault is taken back");
        let verdict = match code {
            Some(TEST_FAILED) if fault.is_unseen => "caught: take its `unseen` out",
            Some(TEST_FAILED) => "caught",
            Some(0) => "SURVIVED",
            Some(BUILD_FAILED) => "DOES NOT COMPILE",
            _ => "DID NOT RUN",
        };
        caught += usize::from(verdict.starts_with("caught"));
        let line = format!(
            "{verdict:<9} {:>4} s  {:<44} {}",
            began.elapsed().as_secs(),
            fault.name,
            fault.test
        );
        println!("{:>3}/{} {line}", at + 1, faults.len());
        let _ = writeln!(table, "{line}");
    }
    println!(
        "\n{table}mutants: {caught} of {} faults were caught; logs are in {}",
        faults.len(),
        work.join("logs").display()
    );
    caught == faults.len()
}

/// Whether the tests pass without a fault; those of one program run together.
fn baseline(work: &Path, faults: &[&Fault]) -> bool {
    let mut groups: BTreeMap<_, Vec<&Fault>> = BTreeMap::new();
    for fault in faults {
        groups
            .entry((&fault.program, &fault.env))
            .or_default()
            .push(fault);
    }
    let mut is_well = true;
    for (at, group) in groups.into_values().enumerate() {
        let filter: BTreeSet<String> = group.iter().map(|fault| fault.filter()).collect();
        let filter: Vec<String> = filter.into_iter().collect();
        let one = group[0];
        let name = format!("baseline-{}", at + 1);
        let began = Instant::now();
        let passes = test(work, &name, one, &filter.join(" | ")) == Some(0);
        println!(
            "{name}: without a fault {} tests of {} {}, {} s",
            filter.len(),
            one.program,
            if passes { "pass" } else { "DO NOT PASS" },
            began.elapsed().as_secs()
        );
        is_well &= passes;
    }
    is_well
}

/// Builds and runs tests of the copy, as `fault` wants them run; gives nextest's exit code.
fn test(work: &Path, name: &str, fault: &Fault, filter: &str) -> Option<i32> {
    let log = File::create(work.join(format!("logs/{name}.log"))).expect("a log");
    let mut command = Command::new("timeout");
    command.args(["--kill-after=30", LIMIT, "cargo", "nextest", "run", "--locked"]);
    command
        .arg("--no-fail-fast")
        .args(fault.program.split(' '))
        .args(["-E", filter]);
    command
        .current_dir(work.join("tree"))
        .env("CARGO_TARGET_DIR", work.join("target"));
    // What is linked without symbols is linked sooner, and nobody reads these backtraces.
    command.envs([("CARGO_INCREMENTAL", "1"), ("CARGO_PROFILE_DEV_DEBUG", "0")]);
    command.envs(fault.env.as_deref().and_then(|env| env.split_once('=')));
    let log_too = log.try_clone().expect("a second handle");
    command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .status()
        .expect("timeout runs")
        .code()
}

/// Makes `copy` the checkout as it is, with what was not committed. What is equal keeps its time, for cargo.
fn copy_checkout(copy: &Path) {
    let listed = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "-z"])
        .output()
        .expect("git runs");
    let listed = String::from_utf8(listed.stdout).expect("names in UTF-8");
    let files: BTreeSet<PathBuf> = listed
        .split('\0')
        .map(PathBuf::from)
        .filter(|file| file.is_file())
        .collect();
    for file in &files {
        let to = copy.join(file);
        if fs::read(&to).ok() != fs::read(file).ok() {
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder of the copy");
            fs::copy(file, &to).expect("a file of the copy");
        }
    }
    let mut there = Vec::new();
    files_under(copy, &mut there);
    for file in there {
        if !files.contains(file.strip_prefix(copy).expect("a file of the copy")) {
            fs::remove_file(&file).expect("a file that is no more");
        }
    }
}

/// Reads the tables; what is wrong with a row goes to `bad`.
fn faults(promises: &[Promise], bad: &mut Vec<String>) -> Vec<Fault> {
    let mut tables = Vec::new();
    files_under(Path::new(TABLES), &mut tables);
    tables.sort();
    let sources = sources();
    let mut faults: Vec<Fault> = Vec::new();
    for table in tables {
        for (line, keys) in parse(&table, &read(&table), bad) {
            let at = format!("{}:{line}", table.display());
            match fault(keys, promises, &sources) {
                Ok(fault) if faults.iter().any(|other| other.name == fault.name) => {
                    bad.push(format!("{at}: a second fault named {}", fault.name));
                }
                Ok(fault) => faults.push(fault),
                Err(why) => bad.push(format!("{at}: {why}")),
            }
        }
    }
    faults
}

/// A row that can be planted, or why it cannot.
fn fault(mut keys: Keys, promises: &[Promise], sources: &Sources) -> Result<Fault, String> {
    let env = keys.remove("env");
    let is_unseen = keys.remove("unseen").is_some();
    let mut key = |key: &str| keys.remove(key).ok_or(format!("{key} is missing"));
    let (name, promise, test) = (key("name")?, key("promise")?, key("test")?);
    let (file, take, put) = (key("file")?, key("take")?, key("put")?);
    let rows: Vec<&Promise> = promises
        .iter()
        .filter(|row| row.text.starts_with(&promise))
        .collect();
    let [row] = rows[..] else {
        return Err(format!(
            "{name}: {} rows of {PROMISES} begin with \"{promise}\"",
            rows.len()
        ));
    };
    let text = fs::read_to_string(&file).map_err(|error| format!("{name}: {file}: {error}"))?;
    match text.matches(take.as_str()).count() {
        _ if take.is_empty() || take == put => return Err(format!("{name}: changes nothing")),
        1 => {}
        count => {
            return Err(format!(
                "{name}: what is taken is {count} times in {file}, not once"
            ));
        }
    }
    let program = program(&test, row, sources).map_err(|why| format!("{name}: {why}"))?;
    Ok(Fault {
        name,
        promise,
        test,
        file,
        take,
        put,
        env,
        is_unseen,
        program,
    })
}

/// What has to be built for a test: it is in the first file or folder of those that the row names that has one of its name.
fn program(test: &str, row: &Promise, sources: &Sources) -> Result<String, String> {
    let begins = format!("fn {}(", test.rsplit("::").next().unwrap_or(test));
    let file_of = |place: &String| {
        let mut files = sources
            .iter()
            .filter(|(file, _)| file.starts_with(place.as_str()));
        files.find(|(_, text)| text.contains(&begins))
    };
    let Some((file, _)) = row.places.iter().find_map(file_of) else {
        return Err(format!("no file that its promise names has a test {test}"));
    };
    Ok(
        match file.strip_prefix("tests/").and_then(|rest| rest.split_once('/')) {
            Some((program, _)) => format!("--test {program}"),
            None => "--lib".to_owned(),
        },
    )
}

fn sources() -> Sources {
    let mut files = Vec::new();
    files_under(Path::new("src"), &mut files);
    files_under(Path::new("tests"), &mut files);
    let rust = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|file| (file.display().to_string(), read(file)))
        .collect()
}

/// The rows of the table, whose second column has names of files and tests in backticks.
fn promises() -> Vec<Promise> {
    let text = read(Path::new(PROMISES));
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    let promise = |row: &str| {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = columns[2].split('`').skip(1).step_by(2);
        Promise {
            text: columns[1].to_owned(),
            places: names
                .filter(|name| name.contains('/'))
                .map(str::to_owned)
                .collect(),
        }
    };
    rows.map(promise).collect()
}

/// The tables `[[fault]]` of a file with the lines at which they begin: as much of TOML as they need, which is literal
/// strings, of one line in `'…'` or `"…"`, or of several in `'''…'''`, and comments.
fn parse(path: &Path, text: &str, bad: &mut Vec<String>) -> Vec<(usize, Keys)> {
    let mut tables: Vec<(usize, Keys)> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line == "[[fault]]" {
            tables.push((at + 1, Keys::new()));
            continue;
        } else if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.split_once(" = ").filter(|(key, _)| KEYS.contains(key));
        let value = pair.and_then(|(_, value)| match value {
            "'''" => {
                let inside = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| *line != "'''");
                Some(inside.map(|line| format!("{line}\n")).collect())
            }
            _ => unquoted(value).map(str::to_owned),
        });
        match (pair, value, tables.last_mut()) {
            (Some((key, _)), Some(value), Some((_, keys))) if !keys.contains_key(key) => {
                keys.insert(key.to_owned(), value);
            }
            _ => bad.push(format!("{}:{}: not understood: {line}", path.display(), at + 1)),
        }
    }
    tables
}

fn unquoted(value: &str) -> Option<&str> {
    let inside = |quote: &str| {
        value
            .strip_prefix(quote)?
            .strip_suffix(quote)
            .filter(|text| !text.contains(quote))
    };
    inside("'''")
        .or_else(|| inside("'"))
        .or_else(|| inside("\"").filter(|text| !text.contains('\\')))
}

fn files_under(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries.map(|entry| entry.expect("an entry")) {
        match entry.file_type().expect("a type").is_dir() {
            true => files_under(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
