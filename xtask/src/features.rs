//! `cargo xtask features`: each crate of `crates` builds without a warning with no feature, with each feature, with each two
//! features, with the default ones and with all of them. cargo-hack makes the list.
//!
//! Pairs are enough, because no `#[cfg]` names more than two features, which `cargo xtask tidy` checks. Whether such an item is
//! there depends on whether each of two features is on: with pairs, all four cases are built. An item that is missing where
//! another one needs it is found as well, as long as the features that must be on for that are at most two: all others are off in
//! such a build. For three or more there is the build with all features.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::step;

/// Packages whose features are nobody's choice.
const NOT_CRATES: [&str; 2] = ["xtask", "tests"];

pub(crate) fn run() -> Result<()> {
    ensure!(
        step::on_path("cargo-hack"),
        "the PATH has no cargo-hack: cargo install --locked cargo-hack"
    );
    let mut hack = step::cargo(&["hack", "check", "--quiet", "--workspace"]);
    hack.args(NOT_CRATES.iter().flat_map(|name| ["--exclude", name]));
    hack.args(["--feature-powerset", "--depth", "2", "--keep-going"]);
    hack.arg("--message-format=json-diagnostic-rendered-ansi");
    let mut complaints = 0;
    let succeeded = step::stream(&mut hack, |line| {
        if let Some(complaint) = complaint(line) {
            eprint!("{complaint}");
            complaints += 1;
        }
    })?;
    // Warnings count: code that only some features use must say so.
    ensure!(complaints == 0, "{complaints} errors and warnings");
    ensure!(succeeded, "cargo hack failed");
    Ok(())
}

/// The error or warning in a line of cargo's messages.
fn complaint(line: &str) -> Option<String> {
    let message: Value = serde_json::from_str(line).ok()?;
    Some(message["message"]["rendered"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_or_a_warning_is_read_and_other_messages_are_not() {
        let warning = r#"{"reason":"compiler-message","message":{"level":"warning","rendered":"warning: unused\n"}}"#;
        assert_eq!(complaint(warning).as_deref(), Some("warning: unused\n"));
        assert_eq!(
            complaint(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(complaint("Checking node"), None);
    }
}
