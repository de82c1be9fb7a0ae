//! The mutants that may survive, each with the reason why no test can or should notice it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::outcome::Mutant;
use crate::step;

/// The list, as a path in the workspace.
pub(crate) const FILE: &str = "xtask/mutants-survivors.txt";

/// Mutants without their places, because each edit of a file moves them. A function may have several of the same change.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<(String, String), usize>);

impl Known {
    pub(crate) fn read() -> Result<Self> {
        let path = step::root().join(FILE);
        let text = fs::read_to_string(&path);
        Self::parse(&text.with_context(|| format!("cannot read {}", path.display()))?)
    }

    /// Each line is `FILE: CHANGE # REASON`, `FILE: N times CHANGE # REASON`, empty, or a comment that begins with `#`.
    fn parse(text: &str) -> Result<Self> {
        let mut known = Self::default();
        let lines = text.lines().filter(|line| !line.is_empty());
        for line in lines.filter(|line| !line.starts_with('#')) {
            let (mutant, reason) = line.split_once(" # ").unwrap_or((line, ""));
            let (file, change) = mutant
                .split_once(": ")
                .with_context(|| format!("{FILE}: no file in: {line}"))?;
            ensure!(!reason.trim().is_empty(), "{FILE}: no reason for: {line}");
            let (times, change) = match change.split_once(" times ") {
                Some((times, change)) => (times.parse()?, change),
                None => (1, change),
            };
            let key = (file.to_owned(), change.trim().to_owned());
            let before = known.0.insert(key, times);
            ensure!(before.is_none(), "{FILE}: listed twice: {line}");
        }
        Ok(known)
    }

    /// The survivors that are not listed. If more survive than are listed of the same change, all of them are shown.
    pub(crate) fn unknown<'a>(&self, survivors: &[&'a Mutant]) -> Vec<&'a Mutant> {
        let counts = counts(survivors);
        let is_known = |mutant: &&&Mutant| {
            let key = key(mutant);
            counts.get(&key) <= self.0.get(&key)
        };
        let survivors = survivors.iter();
        survivors
            .filter(|mutant| !is_known(mutant))
            .copied()
            .collect()
    }

    /// The listed mutants of the examined files that did not survive.
    pub(crate) fn gone(&self, survivors: &[&Mutant], examined: &[String]) -> Vec<String> {
        let counts = counts(survivors);
        let listed = self
            .0
            .iter()
            .filter(|((file, _), _)| examined.contains(file));
        let gone = listed.filter(|(key, times)| counts.get(*key).unwrap_or(&0) < *times);
        gone.map(|((file, change), _)| format!("{file}: {change}"))
            .collect()
    }
}

fn key(mutant: &Mutant) -> (String, String) {
    (mutant.file.clone(), mutant.change.clone())
}

fn counts(mutants: &[&Mutant]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for mutant in mutants {
        *counts.entry(key(mutant)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(line: u32, change: &str) -> Mutant {
        Mutant::parse(&format!("a.rs:{line}:1: {change}")).expect("a mutant")
    }

    fn list(text: &str) -> Known {
        Known::parse(text).expect("a list")
    }

    #[test]
    fn the_list_of_this_workspace_can_be_read() {
        Known::read().expect("it can be read");
    }

    #[test]
    fn a_survivor_is_known_wherever_it_is_in_its_file() {
        let known = list("# comment\n\na.rs: replace + with - in f # both are zero\n");
        let (one, other) = (
            mutant(7, "replace + with - in f"),
            mutant(7, "replace + with * in f"),
        );
        assert_eq!(known.unknown(&[&one, &other]), [&other]);
        let examined = ["a.rs".to_owned()];
        assert!(known.gone(&[&one, &other], &examined).is_empty());
        assert_eq!(
            known.gone(&[&other], &examined),
            ["a.rs: replace + with - in f"]
        );
        assert!(known.gone(&[&other], &["b.rs".to_owned()]).is_empty());
    }

    #[test]
    fn as_many_of_the_same_change_are_known_as_are_listed() {
        let change = "replace + with - in f";
        let both = [mutant(1, change), mutant(2, change)];
        let both: Vec<&Mutant> = both.iter().collect();
        assert_eq!(list("a.rs: replace + with - in f # x").unknown(&both), both);
        let two = list("a.rs: 2 times replace + with - in f # x");
        assert!(two.unknown(&both).is_empty());
        assert_eq!(two.gone(&both[..1], &["a.rs".to_owned()]).len(), 1);
    }

    #[test]
    fn a_line_without_a_reason_or_a_file_is_refused() {
        for line in [
            "a.rs: replace + with - in f",
            "a.rs: x # ",
            "replace # why",
            "a.rs: x times y # why",
        ] {
            assert!(Known::parse(line).is_err(), "{line}");
        }
        assert!(Known::parse("a.rs: x # y\na.rs: x # z").is_err(), "twice");
    }
}
