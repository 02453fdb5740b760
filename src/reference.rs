//! The parts of docs/reference/ that the program makes: tests compare them, and write them with [`UPDATE`] set.
//!
//! In a page, `<!-- made: NAME -->` and `<!-- end -->` stand around a part.

use std::fs;
use std::path::Path;

/// Set to anything, it has the tests write the parts in place of comparing them.
const UPDATE: &str = "DEPLOYER_UPDATE_DOCS";

const END: &str = "<!-- end -->";

/// Checks that the part `name` of a page of docs/reference/ is what the program makes of it now.
#[track_caller]
pub(crate) fn check(page: &str, name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/reference")
        .join(page);
    let text = read(page);
    let begin = format!("<!-- made: {name} -->\n");
    let parts = text.split_once(&begin);
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let (before, (part, after)) = parts.unwrap_or_else(|| panic!("{page} has no part {begin}"));
    let made = format!("\n{}\n\n", made.trim());
    if part == made {
        return;
    }
    assert!(
        std::env::var_os(UPDATE).is_some(),
        "docs/reference/{page} is out of date in its part {name:?}. `{UPDATE}=1 cargo test --lib reference` writes it anew. It \
         should be:\n{made}"
    );
    fs::write(&path, format!("{before}{begin}{made}{END}{after}")).expect("the page can be written");
}

/// A page of docs/reference/.
#[track_caller]
pub(crate) fn read(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/reference")
        .join(page);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A row of a table.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> String {
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.join(" | "))
}
