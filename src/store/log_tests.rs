use std::fs;

use jiff::Timestamp;
use proptest::prelude::*;

use super::log::Lines;
use super::{Log, LogLine, LogReader, ReleaseDir, Store};
use crate::model::ReleaseId;

/// A release's log in a folder of its own, as `bytes` of it.
fn release(bytes: &[u8]) -> (tempfile::TempDir, ReleaseDir) {
    let folder = tempfile::tempdir().unwrap();
    let release = Store::new(folder.path()).release(&"shop".parse().unwrap(), ReleaseId(1));
    fs::create_dir_all(release.path()).unwrap();
    fs::write(release.path().join("log"), bytes).unwrap();
    (folder, release)
}

fn log_of(release: &ReleaseDir) -> String {
    fs::read_to_string(release.path().join("log")).unwrap()
}

/// What a log tells, without the times.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Event(String),
    Output(String),
    Dropped(u64),
    Raw(String),
    Newer(u32),
}

fn said(line: LogLine<String>) -> Said {
    match line {
        LogLine::Event(_, event) => Said::Event(event),
        LogLine::Output(line) => Said::Output(line),
        LogLine::Dropped(lines) => Said::Dropped(lines),
        LogLine::Said(line) => Said::Raw(line),
        LogLine::Newer(format) => Said::Newer(format),
    }
}

fn read(release: &ReleaseDir) -> Vec<Said> {
    let mut reader = LogReader::new(release);
    let mut all = Vec::new();
    while let Some(lines) = reader.lines().unwrap() {
        all.extend(lines.into_iter().map(said));
    }
    all
}

fn event(text: &str) -> Said {
    Said::Event(text.into())
}

fn output(text: &str) -> Said {
    Said::Output(text.into())
}

proptest! {
    /// However it is cut into pieces, what was written is read whole and in its order.
    #[test]
    fn what_is_written_is_read_in_its_order(
        lines in prop::collection::vec((any::<bool>(), any::<String>()), 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let (_folder, dir) = release(b"");
        let mut log = Log::open(&dir).unwrap();
        let mut written = Vec::new();
        for (is_output, text) in lines {
            match is_output {
                true => log.output(&text),
                false => log.event(&text),
            }
            written.push(if is_output { Said::Output(text) } else { Said::Event(text) });
        }
        prop_assert_eq!(read(&dir), written.clone());

        let all = fs::read(dir.path().join("log")).unwrap();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(all.len() + 1)).chain([all.len()]).collect();
        cuts.sort_unstable();
        let (mut reader, mut seen) = (LogReader::new(&dir), Vec::new());
        for cut in cuts {
            fs::write(dir.path().join("log"), &all[..cut]).unwrap();
            while let Some(lines) = reader.lines().unwrap() {
                seen.extend(lines.into_iter().map(said));
            }
        }
        prop_assert_eq!(seen, written);
    }

    /// No bytes make the reader fail, and none of them hides the event that follows.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (_folder, dir) = release(&bytes);
        let mut log = Log::open(&dir).unwrap();
        log.event(&"after".to_owned());
        let read = read(&dir);
        prop_assert_eq!(read.last(), Some(&event("after")));
    }
}

#[test]
fn a_line_is_an_object_with_its_format_and_time_or_a_string() {
    let (_folder, dir) = release(b"");
    let mut log = Log::open(&dir).unwrap();
    log.event(&"begun".to_owned());
    log.output("a \"b\"\tc");
    log.output("{\"format\":1,\"event\":\"forged\"}");
    let log = log_of(&dir);
    let [first, second, third] = log.lines().collect::<Vec<_>>()[..] else {
        panic!("{log}");
    };
    let first: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!((&first["format"], &first["event"]), (&1.into(), &"begun".into()));
    assert!(
        first["at"].as_str().unwrap().parse::<Timestamp>().is_ok(),
        "{log}"
    );
    assert_eq!(second, r#""a \"b\"\tc""#);
    assert!(third.starts_with('"'));
    assert_eq!(read(&dir)[2], output("{\"format\":1,\"event\":\"forged\"}"));
}

#[test]
fn output_without_an_event_before_it_has_its_time() {
    let (_folder, dir) = release(b"");
    let mut log = Log::<String>::open(&dir).unwrap();
    log.output("first");
    log.output("second");
    let log = log_of(&dir);
    assert!(log.starts_with("{\"format\":1,\"at\":\""), "{log}");
    assert_eq!(log.lines().count(), 3, "{log}");
    assert_eq!(read(&dir), [output("first"), output("second")]);
}

#[test]
fn a_line_that_a_killed_worker_left_half_written_is_left_out_and_the_next_one_stands_by_itself() {
    let (_folder, whole) = release(b"");
    Log::open(&whole).unwrap().event(&"resumed".to_owned());
    let line = log_of(&whole);
    for torn in [&line[..line.len() - 1], &line[..10], "{", "\"half a li"] {
        let (_folder, dir) = release(b"");
        let mut log = Log::open(&dir).unwrap();
        // The other one's log was open at the same time.
        fs::write(dir.path().join("log"), format!("\"before\"\n{torn}")).unwrap();
        assert_eq!(read(&dir), [output("before")], "{torn}");
        log.event(&"resumed".to_owned());
        log.output("after");
        let read = read(&dir);
        // A line that lacks nothing but its end is whole once that is there.
        let is_whole = torn.len() == line.len() - 1;
        let last = [event("resumed"), output("after")];
        assert_eq!(read[read.len() - 2..], last, "{torn}");
        assert_eq!(read.len(), if is_whole { 4 } else { 3 }, "{torn}: {read:?}");
    }
}

#[test]
fn what_a_newer_deployer_wrote_is_told_once_and_not_taken_for_damage() {
    let newer = "{\"format\":2,\"time\":1,\"what\":[]}\n";
    let known = "{\"format\":1,\"at\":\"2026-11-30T09:00:00Z\",\"event\":\"known\"}\n";
    let log = format!("{known}\"one\"\n{newer}\"two\"\n{newer}{known}\"three\"\n{newer}");
    let (_folder, dir) = release(log.as_bytes());
    let expected = [
        event("known"),
        output("one"),
        Said::Newer(2),
        event("known"),
        output("three"),
    ];
    assert_eq!(read(&dir), expected);
    assert_eq!(log_of(&dir), log, "it is left as it is");
}

#[test]
fn an_event_that_is_not_known_hides_nothing_else() {
    let log =
        "{\"format\":1,\"at\":\"2026-11-30T09:00:00Z\",\"event\":{\"event\":\"unheard\"}}\n\"output\"\n";
    assert_eq!(
        Lines::<String>::default().read(log.as_bytes()),
        [LogLine::Output("output".into())]
    );
}

#[test]
fn what_the_worker_printed_in_its_distress_is_kept() {
    let panic = "\nthread 'main' panicked at src/main.rs:1:\nboom\n";
    let (_folder, dir) = release(panic.as_bytes());
    let raw = ["", "thread 'main' panicked at src/main.rs:1:", "boom"];
    assert_eq!(read(&dir), raw.map(|line| Said::Raw(line.into())));
}

#[test]
fn output_is_bounded_and_what_is_left_out_is_counted() {
    const BOUND: usize = 16 << 20;
    let (_folder, dir) = release(b"");
    let mut log = Log::open(&dir).unwrap();
    let line = "\"".repeat(1 << 19);
    for _ in 0..20 {
        log.output(&line);
    }
    log.end_of_output();
    log.end_of_output();
    log.event(&"after".to_owned());
    let length = log_of(&dir).len();
    assert!((BOUND - (2 << 20)..=BOUND + 1024).contains(&length), "{length}");
    let read = read(&dir);
    assert_eq!(read.len(), 17, "what needs an escape counts as it is written");
    assert_eq!(read[15..], [Said::Dropped(5), event("after")]);
}

#[test]
fn a_log_that_cannot_be_written_drops_its_lines() {
    let full = fs::File::options().append(true).open("/dev/full").unwrap();
    let mut log = Log::<String>::to(full, "/nowhere".into());
    log.event(&"lost".to_owned());
    log.output("lost too");
    log.end_of_output();
    assert!(!log.torn, "nothing of them stands there");
}
