//! `cargo xtask tidy`: the rules of this project, then lock files, formatting and lints.

mod attacks;
mod circles;
mod crates;
mod document;
mod floors;
mod imports;
mod lexer;
mod prose;
mod sources;
mod spread;
mod text;
mod tools;
mod words;

use std::fmt;
use std::fs;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::step;

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    place: String,
    message: String,
    /// A warning is printed and does not fail the command.
    warning: bool,
}

/// A file that is part of the tree, with its path from the workspace's folder.
struct Source {
    path: String,
    text: String,
}

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Check only the rules that need no compiler
    #[arg(long)]
    rules: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let sources = sources_of_tree()?;
    let metadata = step::metadata()?;
    let mut findings = crates::check(&metadata, step::root(), &sources)?;
    findings.extend(sources.iter().flat_map(text::check));
    let rust = |source: &&Source| source.path.ends_with(".rs");
    findings.extend(sources.iter().filter(rust).flat_map(sources::check));
    findings.extend(floors::check(
        &sources,
        &crates::leaf_names(&metadata, step::root())?,
    ));
    findings.extend(circles::check(&sources));
    findings.extend(attacks::check(&sources));
    findings.extend(spread::check(&sources));
    findings.extend(sources.iter().flat_map(spread::conditions));
    findings.extend(sources.iter().flat_map(words::check));
    if !options.rules {
        findings.extend(tools::check());
    }
    for finding in &findings {
        println!("{finding}");
    }
    let broken = findings.iter().filter(|finding| !finding.warning).count();
    ensure!(broken == 0, "{broken} places break a rule");
    println!("no rule is broken");
    Ok(())
}

/// All text files that git has or would add.
fn sources_of_tree() -> Result<Vec<Source>> {
    let listing = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let listed = step::capture(step::program("git", "").args(listing))
        .context("cannot list the tree's files")?;
    let mut sources = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // A file that cannot be read as text is binary, or was deleted since the last commit.
        if let Ok(text) = fs::read_to_string(step::root().join(path)) {
            sources.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}

impl Finding {
    fn broken(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            message: message.into(),
            warning: false,
        }
    }

    fn at(source: &Source, line: usize, message: impl Into<String>) -> Self {
        Self::broken(format!("{}:{line}", source.path), message)
    }

    fn warning(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::broken(place, message)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.warning { "warning: " } else { "" };
        write!(f, "{severity}{}: {}", self.place, self.message)
    }
}
