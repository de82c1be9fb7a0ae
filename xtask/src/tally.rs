//! Counts of passed, failed and skipped tests, read from the output of test runners.

use std::fmt;
use std::ops::AddAssign;

/// What is repeated of a failure at most, in lines: the rest is where the failure was first printed.
const REPEATED: usize = 40;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// What failed and why: the lines that `cargo xtask ci` repeats at its end.
    pub(crate) failures: Vec<String>,
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
            failures: Vec::new(),
        })
    }

    /// Keeps lines about failures, up to what is repeated of one run.
    pub(crate) fn because(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        let room = REPEATED.saturating_sub(self.failures.len());
        self.failures.extend(lines.into_iter().take(room));
        self
    }
}

/// Finds what failed in the output of test binaries: `test a::b ... FAILED`, and where each panic was and what it said.
#[derive(Default)]
pub(crate) struct LibtestFailures {
    lines: Vec<String>,
    /// The next line is a panic's message.
    message_follows: bool,
}

impl LibtestFailures {
    pub(crate) fn read(&mut self, line: &str) {
        let panic = line.starts_with("thread '") && line.contains(" panicked at ");
        let failed = line.starts_with("test ") && line.ends_with(" ... FAILED");
        if panic || failed || self.message_follows {
            self.lines.push(line.to_owned());
        }
        self.message_follows = panic;
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
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
                skipped: 1,
                failures: Vec::new(),
            })
        );
    }

    #[test]
    fn the_closing_line_of_a_suite_is_read_back() {
        let tally = Tally {
            passed: 16,
            failed: 1,
            skipped: 1,
            failures: Vec::new(),
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
            failures: vec!["a".to_owned()],
        };
        sum += Tally {
            passed: 10,
            failed: 20,
            skipped: 30,
            failures: vec!["b".to_owned()],
        };
        assert_eq!(sum.to_string(), "11 passed, 22 failed, 33 skipped");
        assert_eq!(sum.failures, ["a", "b"]);
    }

    #[test]
    fn of_a_failed_test_its_name_and_its_panic_are_repeated_and_nothing_else() {
        let mut failures = LibtestFailures::default();
        for line in [
            "test a::good ... ok",
            "test a::bad ... FAILED",
            "thread 'a::bad' (17712) panicked at tests/a.rs:260:5:",
            "attempt to subtract with overflow",
            "stack backtrace:",
            "   0: __rustc::rust_begin_unwind",
        ] {
            failures.read(line);
        }
        let lines = failures.into_lines();
        assert_eq!(
            lines,
            [
                "test a::bad ... FAILED",
                "thread 'a::bad' (17712) panicked at tests/a.rs:260:5:",
                "attempt to subtract with overflow",
            ]
        );
    }

    #[test]
    fn no_more_than_a_page_is_repeated_of_one_run() {
        let lines = (0..1000).map(|n| n.to_string());
        let tally = Tally::default().because(lines);
        assert_eq!(tally.failures.len(), REPEATED);
    }
}
