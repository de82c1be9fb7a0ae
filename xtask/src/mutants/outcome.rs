//! The results of cargo-mutants: one text file per outcome, with one mutant per line.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::ops::AddAssign;
use std::path::Path;

use anyhow::{Context, Result};

/// One change of the code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mutant {
    /// The path in the workspace.
    pub(crate) file: String,
    /// The line and the column.
    place: (u32, u32),
    /// What was changed, and in which function.
    pub(crate) change: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A test failed.
    Caught,
    /// No test failed.
    Missed,
    /// The tests did not end. This counts as noticed.
    Timeout,
    /// The change does not compile.
    Unviable,
}

const FILES: [(&str, Outcome); 4] = [
    ("caught.txt", Outcome::Caught),
    ("missed.txt", Outcome::Missed),
    ("timeout.txt", Outcome::Timeout),
    ("unviable.txt", Outcome::Unviable),
];

/// The outcome of each mutant of a run, from the folder that cargo-mutants has written.
pub(crate) fn read(folder: &Path) -> Result<BTreeMap<Mutant, Outcome>> {
    let mut outcomes = BTreeMap::new();
    for (name, outcome) in FILES {
        let path = folder.join(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        for line in text.lines() {
            let mutant = Mutant::parse(line);
            let mutant = mutant.with_context(|| format!("not a mutant: {line}"))?;
            outcomes.insert(mutant, outcome);
        }
    }
    Ok(outcomes)
}

impl Mutant {
    /// Reads `src/file.rs:12:5: replace …`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (place, change) = line.split_once(": ")?;
        let mut parts = place.rsplitn(3, ':');
        let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            file: file.to_owned(),
            place: (line.parse().ok()?, column.parse().ok()?),
            change: change.to_owned(),
        })
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            place: (line, column),
            change,
        } = self;
        write!(f, "{file}:{line}:{column}: {change}")
    }
}

/// How many mutants had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    caught: usize,
    missed: usize,
    timeouts: usize,
    unviable: usize,
}

impl Count {
    pub(crate) const HEADER: &str = "mutants   viable   caught timeouts   missed  noticed  file";

    fn viable(self) -> usize {
        self.caught + self.missed + self.timeouts
    }

    /// The share of the viable mutants that the tests notice.
    pub(crate) fn percent(self) -> f64 {
        match self.viable() {
            0 => 100.0,
            viable => 100.0 * (viable - self.missed) as f64 / viable as f64,
        }
    }

    pub(crate) fn line(self, file: &str) -> String {
        let viable = self.viable();
        let Self {
            caught,
            missed,
            timeouts,
            unviable,
        } = self;
        let (mutants, percent) = (viable + unviable, self.percent());
        format!(
            "{mutants:>7}  {viable:>7}  {caught:>7}  {timeouts:>7}  {missed:>7}  {percent:>5.1} %  {file}"
        )
    }
}

impl FromIterator<Outcome> for Count {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut count = Self::default();
        for outcome in outcomes {
            *match outcome {
                Outcome::Caught => &mut count.caught,
                Outcome::Missed => &mut count.missed,
                Outcome::Timeout => &mut count.timeouts,
                Outcome::Unviable => &mut count.unviable,
            } += 1;
        }
        count
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.caught += other.caught;
        self.missed += other.missed;
        self.timeouts += other.timeouts;
        self.unviable += other.unviable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_is_read_and_written() {
        let line = "crates/a/src/b.rs:12:5: replace < with <= in Table<Id, A>::advance";
        let mutant = Mutant::parse(line).expect("it is one");
        assert_eq!(mutant.file, "crates/a/src/b.rs");
        assert_eq!(mutant.change, "replace < with <= in Table<Id, A>::advance");
        assert_eq!(mutant.to_string(), line);
        for not in [
            "",
            "no place: replace",
            "src/b.rs:12: replace",
            "src/b.rs:x:5: replace",
        ] {
            assert_eq!(Mutant::parse(not), None, "{not}");
        }
    }

    #[test]
    fn the_share_is_of_the_mutants_that_compile_and_a_hang_is_noticed() {
        use Outcome::{Caught, Missed, Timeout, Unviable};
        let count: Count = [Caught, Missed, Timeout, Unviable, Caught]
            .into_iter()
            .collect();
        assert_eq!(count.percent(), 75.0);
        assert_eq!(Count::default().percent(), 100.0);
    }
}
