//! Rule: a feature is named in few files of `node`. docs/ARCHITECTURE.md says in how many, as "at most eight files per
//! feature".

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Source, document};

/// The folder that the rule is about.
const FOLDER: &str = "crates/node/src/";

/// Numbers as a sentence writes them.
const NUMBERS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
];

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
        .filter(|(_, files)| files.len() > limit);
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

/// The files that name each feature.
fn files(tree: &[Source]) -> BTreeMap<&str, Vec<&str>> {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in tree {
        let Some(path) = source.path.strip_prefix(FOLDER) else {
            continue;
        };
        let features = source.text.split("feature = \"").skip(1);
        let features: BTreeSet<&str> = features.filter_map(|rest| rest.split('"').next()).collect();
        for feature in features {
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
    fn a_missing_limit_is_found() {
        assert_eq!(check(&[source(document::PATH, "")]).len(), 1);
    }
}
