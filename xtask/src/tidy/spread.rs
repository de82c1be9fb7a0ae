//! Rules about features. Each is named in few files of `node`: docs/ARCHITECTURE.md says in how many, as "at most eight files
//! per feature". And no `#[cfg]` depends on more than two of them, since only pairs of features are built.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Source, document};

/// The folder that the rule is about.
const FOLDER: &str = "crates/node/src/";

/// Numbers as a sentence writes them.
const NUMBERS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
];

/// The features that are transports. A connection, a stream and an error have a case for each, so that they are in more files
/// than the feature of a part.
const TRANSPORTS: [&str; 2] = ["tcp", "quic"];

/// How many features one condition may name.
const FEATURES_IN_CONDITION: usize = 2;

/// How conditions begin.
const CONDITIONS: [&str; 3] = ["cfg(", "cfg!(", "cfg_attr("];

pub(super) fn check(tree: &[Source]) -> Vec<Finding> {
    let Some(document) = document::of(tree) else {
        return Vec::new();
    };
    let Some(limit) = limit(&document.text) else {
        let message = "the sentence with \"at most … files per feature\" is missing";
        return vec![Finding::broken(document::PATH, message)];
    };
    let too_many = files(tree)
        .into_iter()
        .filter(|(feature, files)| files.len() > limit && !TRANSPORTS.contains(feature));
    too_many
        .map(|(feature, files)| {
            let message = format!(
                "`feature = \"{feature}\"` is in {} files, but at most {limit} are allowed: {}",
                files.len(),
                files.join(", ")
            );
            Finding::broken(FOLDER.trim_end_matches('/'), message)
        })
        .collect()
}

/// The conditions of a file that name too many features.
pub(super) fn conditions(source: &Source) -> Vec<Finding> {
    let is_checked = source.path.starts_with("crates/") && source.path.ends_with(".rs");
    let begins = CONDITIONS.iter().flat_map(|begin| {
        let found = source.text.match_indices(begin);
        found.map(|(at, begin)| at + begin.len())
    });
    let too_many = begins.filter(|at| {
        let condition = &source.text[*at..];
        let condition = &condition[..length(condition)];
        // A permitted warning cannot break a build.
        let only_permits = condition.contains("allow(");
        !only_permits && features(condition).len() > FEATURES_IN_CONDITION
    });
    let message =
        "a condition names at most two features, since `cargo xtask features` builds pairs";
    let found = too_many.map(|at| {
        let line = source.text[..at].lines().count();
        Finding::at(source, line, message)
    });
    found.filter(|_| is_checked).collect()
}

/// The length of a condition, of which the opening parenthesis is already read.
fn length(text: &str) -> usize {
    let mut depth = 1;
    let mut chars = text.char_indices();
    let end = chars.find(|(_, char)| {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map_or(text.len(), |(at, _)| at)
}

/// The features that a text names.
fn features(text: &str) -> BTreeSet<&str> {
    let rest = text.split("feature = \"").skip(1);
    rest.filter_map(|rest| rest.split('"').next()).collect()
}

/// The files that name each feature.
fn files(tree: &[Source]) -> BTreeMap<&str, Vec<&str>> {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in tree {
        let Some(path) = source.path.strip_prefix(FOLDER) else {
            continue;
        };
        for feature in features(&source.text) {
            files.entry(feature).or_default().push(path);
        }
    }
    files
}

/// The number in "at most … files per feature", wherever lines are broken.
fn limit(text: &str) -> Option<usize> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut sentences = words.windows(6).filter(|words| {
        words[..2] == ["at", "most"]
            && words[3..5] == ["files", "per"]
            && words[5].starts_with("feature")
    });
    let number = sentences.next()?[2];
    let in_words = NUMBERS.iter().position(|word| *word == number);
    in_words.or_else(|| number.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_limit_is_read_in_words_and_digits() {
        assert_eq!(
            limit("It allows at\nmost eight files per\nfeature. More"),
            Some(8)
        );
        assert_eq!(limit("(at most 12 files per feature)"), None);
        assert_eq!(limit("so at most 12 files per feature, and"), Some(12));
        assert_eq!(limit("at most many files per feature"), None);
    }

    #[test]
    fn a_feature_in_too_many_files_is_found() {
        let named =
            "#[cfg(feature = \"relay\")]\n#[cfg(all(feature = \"relay\", feature = \"tcp\"))]\n";
        let mut tree = vec![
            source(document::PATH, "at most two files per feature\n"),
            source("crates/node/src/a.rs", named),
            source("crates/node/src/b/c.rs", "#[cfg(feature = \"relay\")]\n"),
            source("crates/other/src/a.rs", named),
        ];
        assert_eq!(check(&tree), []);
        tree.push(source("crates/node/src/d.rs", "cfg!(feature = \"relay\")"));
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].message,
            "`feature = \"relay\"` is in 3 files, but at most 2 are allowed: a.rs, b/c.rs, d.rs"
        );
    }

    #[test]
    fn a_condition_on_three_features_is_found() {
        let two = "#[cfg(any(feature = \"a\", not(feature = \"b\"), all(feature = \"a\")))]\n";
        let three = two.replacen("\"a\"", "\"c\"", 1);
        let found = |text: &str| {
            let findings = conditions(&source("crates/x/src/a.rs", text));
            findings
                .into_iter()
                .map(|finding| finding.place)
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&format!("{two}fn f() {{}}\n{two}")), [""; 0]);
        assert_eq!(found(&format!("{two}{three}")), ["crates/x/src/a.rs:2"]);
        let permits = "#![cfg_attr(not(all(feature = \"a\", feature = \"b\", feature = \"c\")), allow(unused))]";
        assert_eq!(found(permits), [""; 0]);
        assert_eq!(found(&permits.replace("allow", "deny")).len(), 1);
        assert_eq!(
            found("if cfg!(all(feature = \"a\",\nfeature = \"b\", feature = \"c\")) {}").len(),
            1
        );
    }

    #[test]
    fn a_missing_limit_is_found() {
        assert_eq!(check(&[source(document::PATH, "")]).len(), 1);
    }
}
