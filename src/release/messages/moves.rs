//! What a pusher reads of references: which are not taken, and why one cannot move.

use std::path::Path;

use crate::git::NotTaken;
use crate::ground::told::Told;
use crate::model::{AppName, ReleaseId, Slot, escaped};

/// A push from a shallow clone whose history the server does not have.
pub fn shallow() -> Told {
    Told::new("this push comes from a shallow clone, whose history ends where the server has nothing to go on from").hint(
        "`git fetch --unshallow`, then push again; in CI fetch the whole history (fetch-depth: 0, GIT_DEPTH: 0)",
    )
}

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
pub fn is_in_the_way(wanted: &str, there: &str) -> Told {
    let [wanted, there] = [wanted, there].map(|name| escaped(name.as_bytes(), 200));
    let short = wanted.strip_prefix("refs/heads/").unwrap_or(&wanted);
    Told::new(format!("git cannot make {short} as long as {there} is there")).hint(format!(
        "`git push REMOTE :{there}` deletes that, where it may go"
    ))
}

/// A lock file is there.
pub fn is_locked(what: &str, path: &Path) -> Told {
    let path = escaped(path.as_os_str().as_encoded_bytes(), 500);
    Told::new(format!(
        "git cannot move {what}, since {path} is there: another git works on it, or ended before it removed it"
    ))
    .hint("push again; if no git runs in that repository, remove the file")
}

/// It is elsewhere than the push found it.
pub fn has_moved(what: &str) -> Told {
    Told::new(format!("git cannot move {what}, since another push was faster")).hint("fetch, and push again")
}

/// Git cannot move it, for another reason.
pub fn cannot_move(what: &str, why: &str) -> Told {
    Told::new(format!("git cannot move {what}: {why}"))
}

/// Git could move the branch, but not all that the push brings.
pub fn another_cannot_move(branch: &str, why: &Told) -> Told {
    let told = Told::new(format!(
        "the push brings more than {branch}, and not all of it can move, while git tells no hook whether one may move without \
         the others: {}",
        why.message
    ));
    let told = told.hint(format!("push {branch} alone"));
    why.hints
        .iter()
        .fold(told, |told, hint| told.hint(format!("or {hint}")))
}

/// A reference whose name keeps the branch of a push that waits for its release from being made.
pub fn blocks_a_release(reference: &str, branch: &str) -> Told {
    let reference = escaped(reference.as_bytes(), 200);
    Told::new(format!(
        "a release of {branch} is under way, and git could not make {branch} beside {reference}"
    ))
    .hint("give it another name")
}

/// A release has ended well, and git will decline its push all the same.
pub fn released_but_declined(app: &AppName, slot: Slot, release: ReleaseId, branch: &str, why: Told) -> Told {
    let the = if why.hints.is_empty() {
        "the"
    } else {
        "after that the"
    };
    let again = format!("{the} same `git push` moves {branch}, with another release of the same commit");
    let stays =
        format!(" note: {app}/{slot} release {release} has ended well and stays, but the push is declined");
    why.behind(stays).hint(again)
}

/// A release came from a push that waited for it and ended before git moved the branch.
pub fn branch_did_not_move(slot: Slot, release: ReleaseId, branch: &str) -> Told {
    Told::new(format!(
        "{slot}: release {release} runs, but {branch} did not move to its commit, since its push ended before"
    ))
    .hint("the same `git push` again moves it")
}
