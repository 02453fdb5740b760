//! The tokenizer against commands that nobody thought of, with the system's own shell as the judge.

use std::process::Command;

use deployer::ssh::{LENGTH_MAX, WORDS_MAX, quoted, split};
use proptest::prelude::*;

use crate::support::process::run;

/// Texts of what matters to a shell, so that most of them come close to meaning something.
const TRICKY: &str = r#"([a-c ='"\\]|[$`;&|<>()*?~#!{}\[\]]|'[a-c ;$`"\\]*'|"[a-c ;']*"|\\.| ){0,12}"#;

/// What `/bin/sh` makes of the words of `command`.
fn by_the_shell(command: &str) -> Vec<String> {
    let script = format!("printf '%s\\0' x {command}");
    // No folder's entries, no home, no variable: what is left is splitting.
    let mut shell = Command::new("/bin/sh");
    shell.current_dir("/").env_clear().args(["-c", &script]);
    let printed = run(&mut shell, &[]).good();
    let words = printed.strip_suffix('\0').expect("an end").split('\0');
    words.skip(1).map(str::to_owned).collect()
}

/// Anything; what is good but for a byte or two; and what is good but for its size.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        prop::collection::vec(prop_oneof![20 => Just(b'a'), 1 => any::<u8>()], 0..60),
        (0..5000_usize).prop_map(|length| vec![b'a'; length]),
        (0..100_usize).prop_map(|words| b"a ".repeat(words)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_is_the_same_words_to_a_shell(command in TRICKY) {
        if let Ok(words) = split(command.as_bytes()) {
            prop_assert_eq!(by_the_shell(&command), words);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_come_through_quoting_as_they_are(words in prop::collection::vec("\\PC{0,20}", 0..10)) {
        let command = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        prop_assume!(!command.chars().any(char::is_control));
        prop_assert_eq!(split(command.as_bytes()), Ok(words));
    }

    #[test]
    fn any_bytes_are_words_within_the_bounds_or_an_error(command in any_bytes()) {
        if let Ok(words) = split(&command) {
            prop_assert!(command.len() <= LENGTH_MAX && words.len() <= WORDS_MAX);
            prop_assert!(words.iter().map(String::len).sum::<usize>() <= LENGTH_MAX);
            prop_assert!(!words.concat().contains(char::is_control));
        }
    }

    #[test]
    fn nothing_outside_of_quotes_passes_that_a_shell_acts_on(
        before in "[a-z ]{0,8}",
        active in "[$`;&|<>()*?~#!{}\\[\\]]",
        after in "[a-z ]{0,8}",
    ) {
        let bare = format!("{before}{active}{after}");
        prop_assert!(split(bare.as_bytes()).is_err());
        let text = format!("'{bare}'");
        prop_assert_eq!(split(text.as_bytes()), Ok(vec![bare]));
    }
}
