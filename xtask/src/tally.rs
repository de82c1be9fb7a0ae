//! Counts of passed, failed and skipped tests, read from the output of test runners.

use std::fmt;
use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`, which closes each test binary.
    pub(crate) fn of_libtest(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        Self::of_counts(counts.split("; "))
    }

    /// Reads `NAME: 3 passed, 0 failed, 1 skipped`, which closes the suite of that name.
    pub(crate) fn of_suite(name: &str, line: &str) -> Option<Self> {
        let counts = line.strip_prefix(name)?.strip_prefix(": ")?;
        Self::of_counts(counts.split(", "))
    }

    fn of_counts<'a>(counts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut counts = counts.filter_map(|count| count.split_once(' '));
        let mut next = |names: &[&str]| {
            let (number, name) = counts.next()?;
            names.contains(&name).then(|| number.parse().ok())?
        };
        Some(Self {
            passed: next(&["passed"])?,
            failed: next(&["failed"])?,
            skipped: next(&["ignored", "skipped"])?,
        })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_a_test_binary_is_read() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.10s";
        assert_eq!(
            Tally::of_libtest(line),
            Some(Tally {
                passed: 3,
                failed: 2,
                skipped: 1
            })
        );
    }

    #[test]
    fn the_closing_line_of_a_suite_is_read_back() {
        let tally = Tally {
            passed: 16,
            failed: 1,
            skipped: 1,
        };
        assert_eq!(
            Tally::of_suite("interop", &format!("interop: {tally}")),
            Some(tally)
        );
    }

    #[test]
    fn other_lines_are_not_counted() {
        for line in [
            "test a::b ... ok",
            "test result: ok",
            "running 3 tests",
            "3 passed, 0 failed, 0 skipped",
            "",
        ] {
            assert_eq!(Tally::of_libtest(line), None, "{line}");
            assert_eq!(Tally::of_suite("interop", line), None, "{line}");
        }
    }

    #[test]
    fn tallies_add_up() {
        let mut sum = Tally {
            passed: 1,
            failed: 2,
            skipped: 3,
        };
        sum += Tally {
            passed: 10,
            failed: 20,
            skipped: 30,
        };
        assert_eq!(sum.to_string(), "11 passed, 22 failed, 33 skipped");
    }
}
