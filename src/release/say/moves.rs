//! What a pusher reads of references: which are not taken, and why one cannot move.

use std::path::Path;

use crate::git::NotTaken;
use crate::model::{AppName, ReleaseId, Slot, escaped};
use crate::release::differences::told::Told;

/// A push from a shallow clone whose history the server does not have.
pub const SHALLOW: &str = "this push comes from a shallow clone, whose history ends where the server has nothing to go on \
     from. Hint: `git fetch --unshallow`, then push again; in CI fetch the whole history (fetch-depth: 0, GIT_DEPTH: 0)";

/// A reference that git does not take.
pub fn not_taken(reference: &str, why: NotTaken) -> String {
    let why = match why {
        NotTaken::Kind => "only branches and tags are pushed here",
        NotTaken::Name => "such a name makes other branches ambiguous",
    };
    format!(
        " note: {} is not taken: {why}",
        escaped(reference.as_bytes(), 200)
    )
}

/// A tag or branch that short names of the released branch may mean as well.
pub fn is_mistaken_for(reference: &str, branch: &str) -> String {
    let name = escaped(reference.as_bytes(), 200);
    format!(
        " note: {name} may be mistaken for the branch {branch}: `git push` of `HEAD:{branch}` fails as long as it is there. \
         `git push REMOTE :{name}` deletes it"
    )
}

/// A reference is there beside which another one cannot be.
pub fn is_in_the_way(wanted: &str, there: &str) -> String {
    let [wanted, there] = [wanted, there].map(|name| escaped(name.as_bytes(), 200));
    let short = wanted.strip_prefix("refs/heads/").unwrap_or(&wanted);
    format!(
        "git cannot make {short} as long as {there} is there. Hint: `git push REMOTE :{there}` deletes that, where it may go"
    )
}

/// A lock file is there.
pub fn is_locked(what: &str, path: &Path) -> String {
    let path = escaped(path.as_os_str().as_encoded_bytes(), 500);
    format!(
        "git cannot move {what}, since {path} is there: another git works on it, or ended before it removed it. Hint: push \
         again; if no git runs in that repository, remove the file"
    )
}

/// It is elsewhere than the push found it.
pub fn has_moved(what: &str) -> String {
    format!("git cannot move {what}, since another push was faster. Hint: fetch, and push again")
}

/// Git cannot move it, for another reason.
pub fn cannot_move(what: &str, why: &str) -> String {
    format!("git cannot move {what}: {why}")
}

/// Git could move the branch, but not all that the push brings.
pub fn another_cannot_move(branch: &str, why: &str) -> String {
    let (why, hint) = why.split_once(" Hint: ").unwrap_or((why, ""));
    let hint = if hint.is_empty() {
        String::new()
    } else {
        format!("; or {hint}")
    };
    format!(
        "the push brings more than {branch}, and not all of it can move, while git tells no hook whether one may move without \
         the others: {why} Hint: push {branch} alone{hint}"
    )
}

/// A reference whose name keeps the branch of a push that waits for its release from being made.
pub fn blocks_a_release(reference: &str, branch: &str) -> String {
    let reference = escaped(reference.as_bytes(), 200);
    format!(
        "a release of {branch} is under way, and git could not make {branch} beside {reference}. Hint: give it another name"
    )
}

/// A release has ended well, and git will decline its push all the same.
pub fn released_but_declined(
    app: &AppName,
    slot: Slot,
    release: ReleaseId,
    branch: &str,
    why: &str,
) -> String {
    let (why, hint) = match why.split_once(" Hint: ") {
        Some((why, hint)) => (why, format!("{hint}; after that the")),
        None => (why, "the".to_owned()),
    };
    let why = why.trim_end_matches('.');
    format!(
        " note: {app}/{slot} release {release} has ended well and stays, but the push is declined: {why}. Hint: {hint} same \
         `git push` moves {branch}, with another release of the same commit"
    )
}

/// A release came from a push that waited for it and ended before git moved the branch.
pub fn branch_did_not_move(slot: Slot, release: ReleaseId, branch: &str) -> Told {
    Told::new(
        format!(
            "{slot}: release {release} runs, but {branch} did not move to its commit, since its push ended before"
        ),
        "the same `git push` again moves it",
    )
}
