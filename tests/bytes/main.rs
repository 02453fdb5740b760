//! Bytes that somebody else wrote, at random: each target of `fuzz/` takes whatever comes, and finds what it promises.
//! `script/fuzz` looks longer, led by what the bytes reach.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestError, TestRunner};

/// Cases of one test: together they take a second or two.
const CASES: u32 = 400;

/// One change to a text.
#[derive(Debug, Clone)]
enum Edit {
    Put(Index, Vec<u8>),
    Replace(Index, u8),
    Take(Index, usize),
    Repeat(Index, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Edit::Put(at, bytes)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Edit::Take(at, length)),
        (any::<Index>(), 1..40_usize, 1..200_usize)
            .prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
    ]
}

impl Edit {
    fn apply(&self, text: &mut Vec<u8>) {
        let part = |at: &Index, length: usize| {
            let from = at.index(text.len() + 1);
            from..(from + length).min(text.len())
        };
        match self {
            Edit::Put(at, bytes) => drop(text.splice(part(at, 0), bytes.clone())),
            Edit::Replace(at, byte) => drop(text.splice(part(at, 1), [*byte])),
            Edit::Take(at, length) => drop(text.drain(part(at, *length))),
            Edit::Repeat(at, length, times) => {
                let part = part(at, *length);
                let repeated = text[part.clone()].repeat(*times);
                text.splice(part, repeated);
            }
        }
    }
}

/// Gives `target` bytes at random, and its seeds in `fuzz/seeds` changed at random.
fn try_out(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = listed.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("a seed")).collect();
    seeds.iter().for_each(|seed| target(seed));
    let changed = (any::<Index>(), vec(edit(), 1..6)).prop_map(|(seed, edits)| {
        let mut text = seed.get(&seeds).clone();
        edits.iter().for_each(|edit| edit.apply(&mut text));
        text
    });
    let bytes = prop_oneof![1 => vec(any::<u8>(), 0..300), 4 => changed];
    let config = Config {
        cases: std::env::var("DEPLOYER_CASES").map_or(CASES, |cases| cases.parse().expect("a number")),
        failure_persistence: None,
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&bytes, |bytes| {
        target(&bytes);
        Ok(())
    });
    match tried {
        Err(TestError::Fail(why, bytes)) => panic!("{why}, for b\"{}\"", bytes.escape_ascii()),
        tried => tried.expect("the cases can be made"),
    }
}

#[test]
fn any_compose_file_is_taken_or_refused_in_printable_bounded_words() {
    try_out("compose", deployer::fuzzing::compose);
}

#[test]
fn any_configuration_is_taken_or_refused_in_printable_bounded_words() {
    try_out("config", deployer::fuzzing::config);
}

#[test]
fn a_dockerfiles_arguments_are_found_whatever_stands_before_them() {
    try_out("dockerfile", deployer::fuzzing::dockerfile);
}

#[test]
fn frames_end_where_they_end_however_they_are_cut() {
    try_out("frames", deployer::fuzzing::frames);
}

#[test]
fn anything_that_a_hook_is_told_is_read_or_refused() {
    try_out("hook_input", deployer::fuzzing::hook_input);
}

#[test]
fn requests_are_read_as_hyper_reads_them_whatever_the_bytes() {
    try_out("http", deployer::fuzzing::http);
}

#[test]
fn what_an_ignore_file_takes_back_is_reached() {
    try_out("ignore", deployer::fuzzing::ignore);
}

#[test]
fn any_output_becomes_printable_bounded_lines_however_it_is_cut() {
    try_out("output", deployer::fuzzing::output);
}

#[test]
fn any_journal_comes_to_an_end_and_any_state_file_is_read_or_refused() {
    try_out("state", deployer::fuzzing::state);
}

#[test]
fn any_text_becomes_printable() {
    try_out("text", deployer::fuzzing::text);
}

#[test]
fn any_command_of_a_client_is_words_within_bounds_or_refused() {
    try_out("words", deployer::fuzzing::words);
}
