//! Which faults of pushed objects keep a push out: a verdict on every message id of `git fsck`.
//!
//! Git checks each object that a push brings. What old or broken clients wrote into a commit's author line is history: it
//! cannot be mended without new ids for all later commits, and it harms nothing. What lets two programs read one tree
//! differently, or makes a path, a link or a submodule lead out of the tree, is refused.

/// What becomes of a push with such a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes in silence.
    Passes,
    /// It passes; most versions of git print a warning, some do not look.
    Warned,
    /// The whole push is refused.
    Refused,
    /// It is about a repository's own files, which no push brings.
    NotPushed,
}

use Verdict::{NotPushed, Passes, Refused, Warned};

/// One message id of `git fsck`.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// As git writes it: `badDate`.
    pub id: &'static str,
    /// What becomes of a push that brings it.
    pub verdict: Verdict,
    /// Why, as docs/reference/pushes.md says it.
    pub why: &'static str,
}

const fn fault(id: &'static str, verdict: Verdict, why: &'static str) -> Fault {
    Fault { id, verdict, why }
}

const LINE: &str =
    "author, committer or tagger line of an old client; nothing but the shown name or time depends on it";
const SHAPE: &str = "the object cannot be read, or programs disagree on what it says";
const LEADS: &str = "the name leads out of the tree, or into a repository's own folder";
const MODULES: &str = "makes a clone run a program or write elsewhere";
const SPECIAL: &str = "a file that git itself obeys, of a kind or size that readers do not survive";
const LINKED: &str = "a checkout here follows no link, and git does not follow this one";
const STORED: &str = "a file of the repository, which deployer and git write";

/// Every id that git 2.53 and earlier have, in the order of the alphabet.
pub const FAULTS: [Fault; 78] = [
    fault("badDate", Passes, LINE),
    fault("badDateOverflow", Passes, LINE),
    fault("badEmail", Passes, LINE),
    fault(
        "badFilemode",
        Passes,
        "written by old tools; a mode that is no kind of entry fails the checkout",
    ),
    fault("badGpgsig", Refused, SHAPE),
    fault("badHeaderContinuation", Refused, SHAPE),
    fault("badHeadTarget", NotPushed, STORED),
    fault("badName", Passes, LINE),
    fault("badObjectSha1", Refused, SHAPE),
    fault("badPackedRefEntry", NotPushed, STORED),
    fault("badPackedRefHeader", NotPushed, STORED),
    fault("badParentSha1", Refused, SHAPE),
    fault("badRefContent", NotPushed, STORED),
    fault("badReferentName", NotPushed, STORED),
    fault("badRefFiletype", NotPushed, STORED),
    fault("badRefName", NotPushed, STORED),
    fault("badRefOid", NotPushed, STORED),
    fault("badReftableStackCount", NotPushed, STORED),
    fault("badReftableStackListNewline", NotPushed, STORED),
    fault("badReftableTableName", NotPushed, STORED),
    fault(
        "badTagName",
        Warned,
        "the name inside a tag's object, which nothing goes by",
    ),
    fault("badTimezone", Passes, LINE),
    fault("badTree", Refused, SHAPE),
    fault("badTreeSha1", Refused, SHAPE),
    fault("badType", Refused, SHAPE),
    fault(
        "duplicateEntries",
        Refused,
        "one name twice: what is checked out depends on the reader",
    ),
    fault("emptyName", Refused, LEADS),
    fault("emptyPackedRefsFile", NotPushed, STORED),
    fault(
        "extraHeaderEntry",
        Warned,
        "more lines in a tag's object, which nothing goes by",
    ),
    fault("fullPathname", Refused, LEADS),
    fault("gitattributesBlob", Refused, SPECIAL),
    fault("gitattributesLarge", Refused, SPECIAL),
    fault("gitattributesLineLength", Refused, SPECIAL),
    fault("gitattributesMissing", Refused, SPECIAL),
    fault("gitattributesSymlink", Warned, LINKED),
    fault("gitignoreSymlink", Warned, LINKED),
    fault("gitmodulesBlob", Refused, SPECIAL),
    fault("gitmodulesLarge", Refused, SPECIAL),
    fault("gitmodulesMissing", Refused, SPECIAL),
    fault("gitmodulesName", Refused, MODULES),
    fault(
        "gitmodulesParse",
        Warned,
        "no submodule is fetched here, and a clone says the same",
    ),
    fault("gitmodulesPath", Refused, MODULES),
    fault("gitmodulesSymlink", Refused, MODULES),
    fault("gitmodulesUpdate", Refused, MODULES),
    fault("gitmodulesUrl", Refused, MODULES),
    fault("hasDot", Refused, LEADS),
    fault("hasDotdot", Refused, LEADS),
    fault("hasDotgit", Refused, LEADS),
    fault("largePathname", Refused, "no file system takes the name"),
    fault("mailmapSymlink", Warned, LINKED),
    fault("missingAuthor", Passes, LINE),
    fault("missingCommitter", Passes, LINE),
    fault("missingEmail", Passes, LINE),
    fault("missingNameBeforeEmail", Passes, LINE),
    fault("missingObject", Refused, SHAPE),
    fault("missingSpaceBeforeDate", Passes, LINE),
    fault("missingSpaceBeforeEmail", Passes, LINE),
    fault("missingTag", Refused, SHAPE),
    fault("missingTagEntry", Refused, SHAPE),
    fault(
        "missingTaggerEntry",
        Warned,
        "tags of the first versions of git have none",
    ),
    fault("missingTree", Refused, SHAPE),
    fault("missingType", Refused, SHAPE),
    fault("missingTypeEntry", Refused, SHAPE),
    fault("multipleAuthors", Passes, LINE),
    fault(
        "nulInCommit",
        Passes,
        "a message of an old importer; it is shown up to there",
    ),
    fault("nulInHeader", Refused, SHAPE),
    fault(
        "nullSha1",
        Passes,
        "a submodule that was never committed; a file or folder without content is refused as missing",
    ),
    fault("packedRefEntryNotTerminated", NotPushed, STORED),
    fault("packedRefUnsorted", NotPushed, STORED),
    fault("refMissingNewline", NotPushed, STORED),
    fault("symlinkRef", NotPushed, STORED),
    fault("symrefTargetIsNotARef", NotPushed, STORED),
    fault("trailingRefContent", NotPushed, STORED),
    fault(
        "treeNotSorted",
        Refused,
        "entries out of order: what is found depends on the reader",
    ),
    fault("unknownType", Refused, SHAPE),
    fault("unterminatedHeader", Refused, SHAPE),
    fault("zeroPaddedDate", Passes, LINE),
    fault(
        "zeroPaddedFilemode",
        Passes,
        "written by old tools; the mode is the same",
    ),
];

/// Git's names for the settings that let faults pass. All of them are older than any version of git that takes pushes
/// here, so that none has to be warned of as unknown; what is refused is left to git, which refuses it by itself.
pub(super) fn settings() -> impl Iterator<Item = String> {
    let passing = FAULTS.iter().filter(|fault| fault.verdict == Passes);
    passing.map(|fault| format!("receive.fsck.{}", fault.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_stands_in_the_documentation_with_its_verdict() {
        let page = include_str!("../../docs/reference/pushes.md");
        for fault in FAULTS {
            let verdict = match fault.verdict {
                Passes => "passes",
                Warned => "passes, with git's warning",
                Refused => "refused",
                NotPushed => "no part of a push",
            };
            let row = format!("| `{}` | {verdict} | {} |", fault.id, fault.why);
            assert!(
                page.contains(&row),
                "docs/reference/pushes.md lacks the row\n{row}"
            );
        }
        let rows = page.lines().filter(|line| line.starts_with("| `")).count();
        assert!(FAULTS.is_sorted_by(|a, b| a.id.to_lowercase() < b.id.to_lowercase()));
        assert!(rows >= FAULTS.len(), "{rows}");
    }
}
