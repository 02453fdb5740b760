//! Names of branches at their limits, and very many of them.

use super::{Stage, assert_fit_for_a_terminal};

#[test]
fn a_branch_whose_name_is_as_long_as_can_be_is_told_in_short() {
    let stage = Stage::new("long-branch");
    let longest = format!("HEAD:refs/heads/{}", "é/".repeat(1_000) + "x");
    let push = stage.repo.push_with(&["green", &longest]);
    assert_fit_for_a_terminal(&push);
    let said = push.said();
    assert!(
        said.len() < 2_000 && said.contains("releases the branch main"),
        "{}",
        push.output.stderr
    );

    let too_long = format!("HEAD:refs/heads/{}", "x".repeat(300));
    let push = stage.repo.push_with(&["green", &too_long]);
    assert_fit_for_a_terminal(&push);
    assert_eq!(push.output.code, Some(1), "{}", push.output.stderr);
    stage.assert_unharmed("long names");
}

#[test]
fn a_push_of_more_branches_than_are_read_releases_nothing_and_says_so() {
    let stage = Stage::new("many-branches");
    stage.repo.version("v2");
    let mut arguments = vec!["green".to_owned(), "HEAD:refs/heads/main".to_owned()];
    let name = "n".repeat(240);
    arguments.extend((0..3_400).map(|number| format!("HEAD:refs/tags/{number}{name}")));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    let push = stage.repo.push_with(&arguments);

    assert_fit_for_a_terminal(&push);
    assert_eq!(push.output.code, Some(0), "{}", push.output.stderr);
    assert!(
        push.said()
            .contains("more than 10000 references; nothing was released"),
        "{}",
        push.said()
    );
    stage.assert_unharmed("many branches");
    stage.repo.push_with(&["green", "HEAD:refs/heads/again"]);
    stage.repo.version("v3");
    stage.repo.push("green").live();
    assert_eq!(stage.world.version(), "v3");
}
