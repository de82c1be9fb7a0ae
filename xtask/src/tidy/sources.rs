//! Rules about Rust files: their length, no clock or socket in a core, nothing unfinished.

use super::{Finding, Source};

/// A longer file is a warning.
const LINES: usize = 400;

/// A longer file is an error.
const LINES_AT_MOST: usize = 500;

/// A file that names one of these does I/O. All others of a leaf are cores.
const IO: [&str; 3] = ["tokio::", "quinn::", "socket2::"];

/// The clock, randomness and sockets: a core gets `now`, seeds and bytes as arguments instead.
const IMPURE: [&str; 10] = [
    "Instant::now",
    "SystemTime::now",
    "rand::random",
    "rand::rng",
    "OsRng",
    "getrandom",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "thread::sleep",
];

/// The marks of unfinished work, in two parts each so that this file has none of them.
const UNFINISHED: [&str; 4] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ign", "ore"),
    concat!("FIX", "ME"),
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(length(source));
    findings.extend(unfinished(source));
    if is_core(source) {
        findings.extend(impure(source));
    }
    findings
}

fn length(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    let message = format!("{lines} lines, but a file has at most {LINES}");
    match lines {
        0..=LINES => None,
        _ if lines <= LINES_AT_MOST => Some(Finding::warning(&source.path, message)),
        _ => Some(Finding::broken(&source.path, message)),
    }
}

fn unfinished(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().zip(1..);
    let marked = lines.filter_map(|(text, line)| {
        let mark = UNFINISHED.iter().find(|mark| text.contains(**mark))?;
        Some(Finding::at(source, line, format!("unfinished: {mark}")))
    });
    marked.collect()
}

fn is_core(source: &Source) -> bool {
    let of_leaf = source.path.starts_with("crates/") && !source.path.starts_with("crates/node/");
    let is_library = source.path.contains("/src/") && !is_test(&source.path);
    let does_io =
        || code_lines(&source.text).any(|(_, code)| IO.iter().any(|name| code.contains(name)));
    of_leaf && is_library && !does_io()
}

fn impure(source: &Source) -> Vec<Finding> {
    let marked = code_lines(&source.text).filter_map(|(line, code)| {
        let name = IMPURE.iter().find(|name| code.contains(**name))?;
        Some(Finding::at(
            source,
            line,
            format!("a core uses {name}: take its result as an argument, or move this to a file that does I/O"),
        ))
    });
    marked.collect()
}

/// Whether the whole file is tests.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

/// The numbers of the lines that begin a public trait.
pub(super) fn public_traits(text: &str) -> Vec<usize> {
    let is_trait = |code: &str| {
        let code = code.trim_start();
        code.starts_with("pub trait ") || code.starts_with("pub unsafe trait ")
    };
    code_lines(text)
        .filter(|(_, code)| is_trait(code))
        .map(|(line, _)| line)
        .collect()
}

/// The numbered lines that are neither blank nor comments, up to the module of tests at the end.
pub(super) fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let code = text[..tests]
        .lines()
        .zip(1..)
        .map(|(text, line)| (line, text.split("//").next().unwrap_or_default()));
    code.filter(|(_, code)| !code.trim().is_empty())
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
    fn a_file_is_warned_of_past_400_lines_and_refused_past_500() {
        let verdict = |lines: usize| {
            length(&source("x.rs", &"\n".repeat(lines))).map(|finding| finding.warning)
        };
        assert_eq!(
            [400, 401, 500, 501].map(verdict),
            [None, Some(true), Some(true), Some(false)]
        );
    }

    #[test]
    fn a_core_that_reads_the_clock_is_found() {
        let text = "//! Instant::now\nfn f() {\n    let now = Instant::now();\n}\n";
        let findings = check(&source("crates/conn-state/src/phase.rs", text));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "crates/conn-state/src/phase.rs:3");
    }

    #[test]
    fn io_files_and_tests_and_the_node_may_read_the_clock() {
        let clock = "fn f() { Instant::now(); }\n";
        assert_eq!(check(&source("crates/node/src/a.rs", clock)), []);
        assert_eq!(check(&source("crates/a/src/tests.rs", clock)), []);
        assert_eq!(
            check(&source(
                "crates/a/src/driver.rs",
                &format!("use tokio::time;\n{clock}")
            )),
            []
        );
        assert_eq!(
            check(&source(
                "crates/a/src/core.rs",
                &format!("#[cfg(test)]\nmod tests {{\n{clock}}}\n")
            )),
            []
        );
    }

    #[test]
    fn naming_io_in_a_comment_does_not_make_an_io_file() {
        let text = "// unlike tokio::time\nfn f() { Instant::now(); }\n";
        assert_eq!(check(&source("crates/a/src/core.rs", text)).len(), 1);
    }

    #[test]
    fn unfinished_code_is_found_anywhere() {
        for mark in UNFINISHED {
            assert_eq!(
                check(&source(
                    "xtask/src/a.rs",
                    &format!("fn f() {{\n    {mark}\n}}\n")
                ))
                .len(),
                1,
                "{mark}"
            );
        }
    }

    #[test]
    fn only_public_traits_count() {
        let text = "pub trait A {}\n// pub trait B {}\ntrait C {}\npub(crate) trait D {}\n    pub trait E {}\n";
        assert_eq!(public_traits(text), [1, 5]);
    }
}
