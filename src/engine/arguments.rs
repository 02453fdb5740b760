//! Which build arguments a Dockerfile declares: the names in its ARG instructions, before the first FROM and in every
//! stage. An ARG that a base image brings by ONBUILD is not seen.

use std::collections::BTreeSet;

/// Instructions that may have here-documents, whose lines are no instructions.
const WITH_HERE_DOCUMENTS: [&str; 3] = ["RUN", "COPY", "ADD"];

/// The names that a Dockerfile's ARG instructions declare.
pub(super) fn declared_arguments(dockerfile: &str) -> BTreeSet<String> {
    let mut lines = Lines::of(dockerfile);
    let mut declared = BTreeSet::new();
    while let Some(instruction) = lines.next_instruction() {
        let (keyword, rest) = keyword_and_rest(&instruction);
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("ARG") {
            let words = words(rest, lines.escape).into_iter();
            declared.extend(words.map(|word| word.split('=').next().unwrap_or_default().to_owned()));
        } else if is("ONBUILD") || WITH_HERE_DOCUMENTS.into_iter().any(is) {
            lines.skip_here_documents(&words(rest, lines.escape));
        }
    }
    declared
}

/// A Dockerfile's lines, taken an instruction at a time.
struct Lines<'a> {
    all: Vec<&'a str>,
    next: usize,
    escape: char,
    /// Whether a here-document without an end was met: then the lines after `<<` were meant as instructions, as
    /// builders take them that know no here-documents.
    has_unended: bool,
}

impl<'a> Lines<'a> {
    fn of(dockerfile: &'a str) -> Self {
        let text = dockerfile.strip_prefix('\u{feff}').unwrap_or(dockerfile);
        let all: Vec<&str> = text.lines().collect();
        Self {
            escape: escape(&all),
            all,
            next: 0,
            has_unended: false,
        }
    }

    /// The next instruction on one line, without comments and without the empty lines in its middle.
    fn next_instruction(&mut self) -> Option<String> {
        let mut instruction = String::new();
        while let Some(line) = self.all.get(self.next) {
            self.next += 1;
            let start = line.trim_start();
            if start.is_empty() || start.starts_with('#') {
                continue;
            }
            match continued(line, self.escape) {
                Some(part) => instruction.push_str(part),
                None => {
                    instruction.push_str(line);
                    return Some(instruction);
                }
            }
        }
        Some(instruction).filter(|instruction| !instruction.is_empty())
    }

    /// Passes over the here-documents that these words of the last instruction begin.
    fn skip_here_documents(&mut self, words: &[&str]) {
        if self.has_unended {
            return;
        }
        let mut next = self.next;
        for document in words.iter().filter_map(|word| HereDocument::begun_by(word)) {
            let left = self.all.get(next..).unwrap_or_default();
            let Some(end) = left.iter().position(|line| document.is_ended_by(line)) else {
                self.has_unended = true;
                return;
            };
            next += end + 1;
        }
        self.next = next;
    }
}

/// The character that continues a line: a backslash, unless the `# escape=` line among the first ones says otherwise.
fn escape(lines: &[&str]) -> char {
    let directives = lines
        .iter()
        .map_while(|line| line.trim_start().strip_prefix('#')?.split_once('='));
    let mut escapes = directives.filter(|(name, _)| name.trim().eq_ignore_ascii_case("escape"));
    let escape = escapes.next().and_then(|(_, value)| value.trim().chars().next());
    escape.filter(|escape| *escape == '`').unwrap_or('\\')
}

/// What stands before the escape character that continues a line; none where the line ends its instruction.
fn continued(line: &str, escape: char) -> Option<&str> {
    let part = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!part.ends_with(escape)).then_some(part)
}

fn keyword_and_rest(instruction: &str) -> (&str, &str) {
    let instruction = instruction.trim();
    instruction
        .split_once(char::is_whitespace)
        .unwrap_or((instruction, ""))
}

/// The words of an instruction as a shell parts them, with their quotes.
fn words(text: &str, escape: char) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut quote) = (None, None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                words.extend(start.take().map(|start| &text[start..at]));
                continue;
            }
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        start.get_or_insert(at);
        if c == escape && quote != Some('\'') {
            chars.next();
        }
    }
    words.extend(start.map(|start| &text[start..]));
    words
}

/// A here-document: the line that ends it.
struct HereDocument {
    end: String,
    /// Whether that line may be indented by tabs.
    is_indented: bool,
}

impl HereDocument {
    /// The here-document that a word begins: `<<EOF`, `<<-EOF`, `3<<"EOF"`.
    fn begun_by(word: &str) -> Option<Self> {
        let name = word
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .strip_prefix("<<")?;
        let (name, is_indented) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let end = name.replace(['"', '\'', '\\'], "");
        (!end.is_empty() && !end.contains('<')).then_some(Self { end, is_indented })
    }

    fn is_ended_by(&self, line: &str) -> bool {
        let line = if self.is_indented {
            line.trim_start_matches('\t')
        } else {
            line
        };
        line == self.end
    }
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    fn declared(dockerfile: &str) -> Vec<String> {
        declared_arguments(dockerfile).into_iter().collect()
    }

    #[test]
    fn arguments_are_found_wherever_a_builder_finds_them() {
        for (dockerfile, wanted) in [
            ("ARG A\nFROM x\nARG B=2\nFROM y AS z\narg c", &["A", "B", "c"][..]),
            ("FROM x\n  Arg\tA=1 B C=\"x y\" D='=' \n", &["A", "B", "C", "D"]),
            ("FROM x\nARG A=\\\n1 \\\n# a comment\n\n  B", &["A", "B"]),
            ("FROM x\r\nARG A \\\r\n  B\r\n", &["A", "B"]),
            (
                "# escape=`\nFROM x\nARG A `\n B\nARG C=\\\nARG D",
                &["A", "B", "C", "D"],
            ),
            ("\u{feff}ARG A\nFROM x", &["A"]),
            ("FROM x\nARG A=a\\ b B", &["A", "B"]),
            ("FROM x\nRUN <<EOF\nARG NO\nEOF\nARG A", &["A"]),
            (
                "FROM x\nRUN a 3<<-\"ONE\" <<'TWO'\nARG NO\n\t\tONE\nARG NO\nTWO\nARG A",
                &["A"],
            ),
            ("FROM x\nCOPY <<a <<b /\nARG NO\na\nARG NO\nb\nARG A", &["A"]),
            ("FROM x\nONBUILD RUN <<E\nARG NO\nE\nARG A", &["A"]),
            // No here-documents: one without an end, a here-string, one in quotes, one in a JSON form.
            ("FROM x\nRUN a <<EOF\nARG A\nRUN b <<EOF\nARG B", &["A", "B"]),
            ("FROM x\nRUN a <<<EOF\nARG A\nEOF", &["A"]),
            ("FROM x\nRUN a '<<EOF'\nARG A\nEOF", &["A"]),
            ("FROM x\nRUN [\"a\", \"<<EOF\"]\nARG A\nEOF", &["A"]),
        ] {
            assert_eq!(declared(dockerfile), wanted, "{dockerfile:?}");
        }
    }

    #[test]
    fn what_only_looks_like_an_argument_is_none() {
        for dockerfile in [
            "",
            "FROM x\n# ARG A",
            "FROM x\nRUN echo \\\nARG A",
            "FROM x\nARGS A\nENV ARG=A\nRUN ARG A",
            "FROM x\nONBUILD ARG A",
            "FROM x\nRUN cat <<EOF > /x\nARG A\nEOF",
            "FROM x\nARG",
        ] {
            assert!(declared(dockerfile).is_empty(), "{dockerfile:?}");
        }
    }

    #[test]
    fn a_large_and_odd_dockerfile_takes_no_time() {
        // Of this thread alone: a busy machine is no fault of the parser's.
        let spent = || clock_gettime(ClockId::ThreadCPUTime).tv_sec;
        let begun = spent();
        for line in [
            "RUN <<X\n",
            "ARG \"\n",
            "RUN <<A <<B\nA\n",
            "\\\n",
            "ARG A=\\",
            "ONBUILD ",
        ] {
            declared(&line.repeat((1 << 19) / line.len()));
        }
        assert!(spent() - begun < 5, "{} s", spent() - begun);
    }
}
