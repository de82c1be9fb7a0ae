//! The foreign parts that suites and benchmarks need: whether they can be had here, and how they are built.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use anyhow::Result;

use crate::step;

/// A foreign part. Its name is what `--require` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// rust-libp2p
    Rust,
    /// go-libp2p
    Go,
    /// js-libp2p
    Js,
}

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Js => "js",
        }
    }

    /// The environment variable that tells a suite where the part's program is.
    pub(crate) fn variable(self) -> String {
        format!("PEER_{}", self.name().to_uppercase())
    }

    /// The programs it takes that are not on the PATH.
    pub(crate) fn missing(self) -> Vec<&'static str> {
        let needed: &[&str] = match self {
            Self::Rust => &["cargo"],
            Self::Go => &["go"],
            Self::Js => &["node", "npm"],
        };
        needed
            .iter()
            .copied()
            .filter(|program| !step::on_path(program))
            .collect()
    }

    /// Builds the part and gives its program.
    pub(crate) fn build(self) -> Result<PathBuf> {
        let folder = format!("tests/peers/{}", self.name());
        let place = step::root().join(&folder);
        match self {
            Self::Rust => {
                let mut cargo = step::program("cargo", &folder);
                let built = step::build(cargo.args(["build", "--release", "--locked"]))?;
                step::executable(&built, "rust-peer")
            }
            Self::Go => {
                step::succeed(step::program("go", &folder).args(["build", "-o", "go-peer", "."]))?;
                Ok(place.join("go-peer"))
            }
            Self::Js => {
                let installed = modified(place.join("node_modules/.package-lock.json"));
                if installed < modified(place.join("package-lock.json")) {
                    step::succeed(&mut npm_ci(&folder))?;
                }
                Ok(place.join("js-peer"))
            }
        }
    }
}

fn npm_ci(folder: &str) -> Command {
    let mut npm = step::program("npm", folder);
    npm.args(["ci", "--no-audit", "--no-fund"]);
    npm
}

/// When a file was changed last, long ago if there is none.
fn modified(file: PathBuf) -> SystemTime {
    fs::metadata(file)
        .and_then(|data| data.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
