//! Rule: the files of a crate do not import each other in a circle.
//!
//! A circle that has a reason is listed in a section of docs/ARCHITECTURE.md, one line for each circle:
//!
//! ```text
//! - `conn-state`: `tracker.rs`, `tracker/contest.rs`: the reason.
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{self, Crate, Module};
use super::{Finding, Source, document};

/// The heading of the section that lists the circles that may stay.
const HEADING: &str = "Circles that stay";

/// A circle that may stay.
struct Allowed<'a> {
    line: usize,
    krate: &'a str,
    files: BTreeSet<&'a str>,
}

pub(super) fn check(tree: &[Source]) -> Vec<Finding> {
    let document = document::of(tree);
    let lines = document.and_then(|document| document::section(&document.text, HEADING));
    let (allowed, mut findings) = allowed(&lines.unwrap_or_default());
    let mut used = BTreeSet::new();
    let folders: BTreeSet<&str> = tree
        .iter()
        .filter_map(|source| source.path.strip_suffix("src/lib.rs"))
        .filter(|folder| folder.starts_with("crates/"))
        .collect();
    for folder in folders {
        let name = folder.trim_start_matches("crates/").trim_end_matches('/');
        for one in imports::crates(&format!("{folder}src/"), tree) {
            let globs = one.root_globs().into_iter();
            findings.extend(globs.map(|(source, line)| {
                let message =
                    "`*` of the crate's root hides which files are imported: name what is needed";
                Finding::at(source, line, message)
            }));
            for circle in circles(&one) {
                let files: BTreeSet<&str> = circle.iter().map(|module| one.file(module)).collect();
                let entry = allowed
                    .iter()
                    .position(|entry| entry.krate == name && entry.files == files);
                if let Some(entry) = entry {
                    used.insert(entry);
                } else {
                    findings.push(found(&one, &circle));
                }
            }
        }
    }
    let unused = (0..).zip(&allowed).filter(|(at, _)| !used.contains(at));
    findings.extend(unused.map(|(_, entry)| {
        Finding::broken(
            format!("{}:{}", document::PATH, entry.line),
            format!(
                "{} has no such circle any more: remove this line",
                entry.krate
            ),
        )
    }));
    findings
}

/// Reads the list of circles that may stay. A line without a reason is a finding.
fn allowed<'a>(lines: &[document::Line<'a>]) -> (Vec<Allowed<'a>>, Vec<Finding>) {
    let (mut allowed, mut findings) = (Vec::new(), Vec::new());
    for (line, text) in lines {
        let Some(item) = text.strip_prefix("- ") else {
            continue;
        };
        let mut parts = item.splitn(3, ": ");
        let (krate, files) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let files: BTreeSet<&str> = files.split('`').skip(1).step_by(2).collect();
        let has_reason = parts.next().is_some_and(|reason| !reason.trim().is_empty());
        if has_reason && files.len() > 1 {
            allowed.push(Allowed {
                line: *line,
                krate: krate.trim_matches('`'),
                files,
            });
        } else {
            findings.push(Finding::broken(
                format!("{}:{line}", document::PATH),
                "a circle that stays is listed as: - `crate`: `a.rs`, `b.rs`: reason",
            ));
        }
    }
    (allowed, findings)
}

/// Names the files of a circle and one import between each two that follow each other.
fn found(one: &Crate<'_>, circle: &BTreeSet<Module>) -> Finding {
    let files: Vec<&str> = circle.iter().map(|module| one.file(module)).collect();
    let imports = one.imports();
    let inside = imports
        .iter()
        .filter(|import| circle.contains(&import.from) && circle.contains(&import.to));
    let mut pairs = BTreeMap::new();
    for import in inside {
        let pair = (one.file(&import.from), one.file(&import.to));
        pairs.entry(pair).or_insert(import.line);
    }
    let pairs = pairs
        .iter()
        .map(|((from, to), line)| format!("\n    {from}:{line} imports {to}"));
    let message = format!(
        "{} files import each other in a circle: {}{}",
        files.len(),
        files.join(", "),
        pairs.collect::<String>()
    );
    Finding::broken(one.folder.trim_end_matches('/'), message)
}

/// The largest sets of files each of which imports every other one, directly or through others of the set.
fn circles(one: &Crate<'_>) -> Vec<BTreeSet<Module>> {
    let mut targets: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for import in one.imports() {
        targets.entry(import.from).or_default().insert(import.to);
    }
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = targets
        .keys()
        .map(|from| (from, reached(from, &targets)))
        .collect();
    let mut circles: Vec<BTreeSet<Module>> = Vec::new();
    for (from, to) in &reached {
        if !to.contains(from) || circles.iter().any(|circle| circle.contains(*from)) {
            continue;
        }
        let back = |other: &&&Module| {
            let from_there = reached.get(**other);
            from_there.is_some_and(|reached| reached.contains(from))
        };
        circles.push(
            to.iter()
                .filter(back)
                .map(|other| (*other).clone())
                .collect(),
        );
    }
    circles
}

/// All files that a file imports, directly or through others.
fn reached<'a>(
    from: &Module,
    targets: &'a BTreeMap<Module, BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let of = |module: &Module| targets.get(module).into_iter().flatten();
    let (mut reached, mut waiting) = (BTreeSet::new(), Vec::from_iter(of(from)));
    while let Some(module) = waiting.pop() {
        if reached.insert(module) {
            waiting.extend(of(module));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_document(files: &[(&str, &str)], list: &str) -> Vec<Finding> {
        let mut tree = imports::tests::tree(files);
        tree.push(Source {
            path: document::PATH.to_owned(),
            text: format!("# A\n\n## {HEADING}\n\n{list}"),
        });
        check(&tree)
    }

    const CIRCLE: [(&str, &str); 5] = [
        ("lib.rs", "pub use a::A;\nmod b;\nmod c;\nmod d;\n"),
        ("a.rs", "use crate::b::B;\n"),
        ("b.rs", "use crate::c::C;\n"),
        ("c.rs", "use crate::A;\n"),
        ("d.rs", "use crate::{A, b::B};\n"),
    ];

    #[test]
    fn a_circle_is_found_with_the_imports_that_make_it() {
        let findings = with_document(&CIRCLE, "");
        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].message,
            "3 files import each other in a circle: a.rs, b.rs, c.rs\n    a.rs:1 imports b.rs\n    b.rs:1 imports c.rs\n    c.rs:1 imports a.rs"
        );
    }

    #[test]
    fn imports_in_one_direction_and_between_parent_and_child_are_no_circle() {
        let files = [
            ("lib.rs", ""),
            ("a.rs", "mod b;\nuse b::B;\n"),
            ("a/b.rs", "use super::A;\nuse crate::c::C;\n"),
            ("c.rs", ""),
        ];
        assert_eq!(with_document(&files, ""), []);
    }

    #[test]
    fn everything_of_the_root_is_not_imported() {
        let globs = "use crate::*;\nuse super::*;\nuse super::b::*;\nuse std::*;\n";
        let files = [
            ("lib.rs", ""),
            ("a.rs", globs),
            ("b.rs", ""),
            ("b/c.rs", "use super::*;\n"),
        ];
        let places = with_document(&files, "")
            .into_iter()
            .map(|finding| finding.place);
        assert_eq!(
            places.collect::<Vec<_>>(),
            ["crates/x/src/a.rs:1", "crates/x/src/a.rs:2"]
        );
    }

    #[test]
    fn a_listed_circle_may_stay_while_it_is_the_same() {
        let line = "- `x`: `a.rs`, `b.rs`, `c.rs`: one idea.\n";
        assert_eq!(with_document(&CIRCLE, line), []);
        assert_eq!(
            with_document(&CIRCLE, "- `x`: `a.rs`, `b.rs`: one idea.\n").len(),
            2
        );
        assert_eq!(with_document(&CIRCLE, &line.replace("`x`", "`y`")).len(), 2);
    }

    #[test]
    fn a_listed_circle_needs_a_reason_and_goes_when_it_is_gone() {
        assert_eq!(
            with_document(&CIRCLE, "- `x`: `a.rs`, `b.rs`, `c.rs`\n").len(),
            2
        );
        let straight = [("lib.rs", ""), ("a.rs", "use crate::b::B;\n"), ("b.rs", "")];
        let findings = with_document(&straight, "- `x`: `a.rs`, `b.rs`: one idea.\n");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "docs/ARCHITECTURE.md:5");
    }
}
