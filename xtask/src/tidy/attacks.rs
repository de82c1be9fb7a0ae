//! Rule: the table of attacks in docs/TESTING.md names a test for each attack, and each named test exists.
//!
//! A row ends with its tests. A test is the name of a function, `hostile NAME` for a flood of the suite `hostile`, or `fuzz NAME`
//! for a fuzz target. A row about a part that has no code yet ends with `not yet:` and the name of the part.

use std::collections::BTreeSet;

use super::document::{self, Line};
use super::{Finding, Source, lexer};

const DOCUMENT: &str = "docs/TESTING.md";

const HEADING: &str = "Attacks and their tests";

/// Where the suite lists its floods.
const FLOODS: &str = "tests/suites/hostile/floods/mod.rs";

const NOT_YET: &str = "not yet: ";

pub(super) fn check(tree: &[Source]) -> Vec<Finding> {
    let document = tree.iter().find(|source| source.path == DOCUMENT);
    let section =
        document.and_then(|source| Some((source, document::section(&source.text, HEADING)?)));
    let Some((document, lines)) = section else {
        let missing = format!("there is no section {HEADING:?}");
        return vec![Finding::broken(DOCUMENT, missing)];
    };
    let known = Known::of(tree);
    let mut findings = Vec::new();
    let mut named = BTreeSet::new();
    for (line, tests) in rows(&lines) {
        if tests.starts_with(NOT_YET) {
            continue;
        }
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            findings.push(Finding::at(document, line, "this attack has no test"));
        }
        let missing = tests.iter().filter(|test| !known.has(test));
        let missing =
            missing.map(|test| Finding::at(document, line, format!("there is no test {test}")));
        findings.extend(missing);
        named.extend(tests);
    }
    let floods = known.floods.iter().map(|flood| format!("hostile {flood}"));
    let unnamed = floods.filter(|flood| !named.contains(flood.as_str()));
    findings.extend(unnamed.map(|flood| {
        let message = format!("no attack in the section {HEADING:?} names `{flood}`");
        Finding::broken(DOCUMENT, message)
    }));
    findings
}

/// The last cell of each row of the section's tables, without headings and rulers.
fn rows<'a>(lines: &[Line<'a>]) -> Vec<(usize, &'a str)> {
    let cell = |line: &'a str| {
        let cells = line.strip_prefix('|')?.strip_suffix('|')?;
        cells.rsplit('|').next().map(str::trim)
    };
    let is_ruler = |line: &str| line.starts_with("| ---");
    let mut rows = Vec::new();
    for (at, (number, line)) in lines.iter().enumerate() {
        let is_heading = lines.get(at + 1).is_some_and(|(_, next)| is_ruler(next));
        if !is_heading && !is_ruler(line) {
            rows.extend(cell(line).map(|cell| (*number, cell)));
        }
    }
    rows
}

/// The tests that there are.
struct Known {
    functions: BTreeSet<String>,
    floods: BTreeSet<String>,
    targets: BTreeSet<String>,
}

impl Known {
    fn of(tree: &[Source]) -> Self {
        let rust = tree.iter().filter(|source| source.path.ends_with(".rs"));
        let target = |source: &Source| {
            let name = source
                .path
                .strip_prefix("fuzz/targets/")?
                .strip_suffix(".rs")?;
            Some(name.to_owned())
        };
        let floods = tree.iter().filter(|source| source.path == FLOODS);
        Self {
            functions: rust.flat_map(|source| tests_of(&source.text)).collect(),
            floods: floods.flat_map(|source| floods_of(&source.text)).collect(),
            targets: tree.iter().filter_map(target).collect(),
        }
    }

    fn has(&self, test: &str) -> bool {
        match test.split_once(' ') {
            Some(("hostile", flood)) => self.floods.contains(flood),
            Some(("fuzz", target)) => self.targets.contains(target),
            Some(_) => false,
            None => self.functions.contains(test),
        }
    }
}

/// The names of the functions with an attribute `#[test]` or `#[…::test]`.
fn tests_of(text: &str) -> Vec<String> {
    let code = lexer::code(text);
    let mut is_test = false;
    let mut names = Vec::new();
    for line in code.lines().map(str::trim) {
        is_test |= ["#[test]", "::test]", "::test("]
            .iter()
            .any(|it| line.contains(it));
        if let Some((_, after)) = line.split_once("fn ") {
            let name = after
                .split(|char: char| !char.is_alphanumeric() && char != '_')
                .next();
            names.extend(name.filter(|_| is_test).map(str::to_owned));
            is_test = false;
        }
    }
    names
}

/// The names in `name: "…"`.
fn floods_of(text: &str) -> Vec<String> {
    let after = text.split("name: \"").skip(1);
    after
        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "#[test]\nfn one() {}\n\n#[tokio::test(start_paused = true)]\nasync fn two() {}\n\nfn three() {}\n\n#[cfg(test)]\nfn four() {}\n\n// #[test]\nfn five() {}\n";

    fn tree(table: &str) -> Vec<Source> {
        let source = |path: &str, text: String| Source {
            path: path.to_owned(),
            text,
        };
        let rows = format!(
            "## {HEADING}\n\n| layer | attack | tests |\n| --- | --- | --- |\n{table}\n\n## Next\n"
        );
        vec![
            source(DOCUMENT, rows),
            source("crates/a/tests/b.rs", CODE.to_owned()),
            source(FLOODS, "Flood { name: \"drip\", run: f }".to_owned()),
            source("fuzz/targets/frames.rs", String::new()),
        ]
    }

    fn found(table: &str) -> Vec<String> {
        let findings = check(&tree(table));
        findings
            .into_iter()
            .map(|finding| finding.to_string())
            .collect()
    }

    #[test]
    fn a_table_whose_tests_exist_breaks_no_rule() {
        let table = "| a | b | `one`, `two` |\n| a | c | `hostile drip`, `fuzz frames` |\n| d | e | not yet: gossip |";
        assert_eq!(found(table), [""; 0]);
    }

    #[test]
    fn a_test_that_does_not_exist_is_found_with_its_line() {
        for wrong in [
            "three",
            "four",
            "five",
            "six",
            "hostile one",
            "fuzz one",
            "other drip",
        ] {
            let table = format!("| a | b | `hostile drip` |\n| a | c | `one`, `{wrong}` |");
            assert_eq!(
                found(&table),
                [format!("{DOCUMENT}:6: there is no test {wrong}")]
            );
        }
    }

    #[test]
    fn an_attack_without_a_test_and_a_flood_without_an_attack_are_found() {
        assert_eq!(
            found("| a | b | tested by hand |"),
            [
                format!("{DOCUMENT}:5: this attack has no test"),
                format!("{DOCUMENT}: no attack in the section {HEADING:?} names `hostile drip`"),
            ]
        );
    }

    #[test]
    fn a_document_without_the_table_is_found() {
        let findings = check(&[]);
        assert_eq!(findings.len(), 1);
    }
}
