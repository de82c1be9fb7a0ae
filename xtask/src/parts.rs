//! The foreign parts that suites and benchmarks need: whether this machine has them, and how they are built.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

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
    /// iroh-gossip
    Iroh,
    /// A SOCKS5 proxy
    Microsocks,
    /// A SOCKS5 proxy
    Dante,
    /// An HTTP proxy
    Tinyproxy,
    /// An HTTP proxy
    Squid,
    /// The right to give a program its own name server
    Unshare,
    /// The right and the programs to make networks
    Network,
    /// The programs on other stacks that use one of Bowline's crates
    Adopt,
}

/// The programs that a proxy's sandbox needs.
const SANDBOX: [&str; 2] = ["unshare", "setpriv"];

/// The programs for networks of namespaces: those of the suite `network`, and those in which microsocks is observed.
const NETWORKS: [&str; 3] = ["nsenter", "ip", "nft"];

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Js => "js",
            Self::Iroh => "iroh",
            Self::Microsocks => "microsocks",
            Self::Dante => "dante",
            Self::Tinyproxy => "tinyproxy",
            Self::Squid => "squid",
            Self::Unshare => "unshare",
            Self::Network => "network",
            Self::Adopt => "adopt",
        }
    }

    /// The environment variable that tells a suite where the part's program is.
    pub(crate) fn variable(self) -> String {
        let kind = match self {
            Self::Unshare | Self::Network => "TOOL",
            _ if self.proxy().is_some() => "PROXY",
            _ => "PEER",
        };
        format!("{kind}_{}", self.name().to_uppercase())
    }

    /// What is missing for this part, as the end of a sentence.
    pub(crate) fn missing(self) -> Option<String> {
        let programs = self.needs();
        let programs = programs.iter().filter(|program| !step::on_path(program));
        let programs: Vec<&str> = programs.copied().collect();
        if !programs.is_empty() {
            return Some(format!("the PATH has no {}", programs.join(" and no ")));
        }
        let needs_namespaces =
            matches!(self, Self::Unshare | Self::Network) || self.proxy().is_some();
        if needs_namespaces && !step::may_unshare() {
            return Some("this user may not make namespaces; root may".to_owned());
        }
        None
    }

    fn needs(self) -> Vec<&'static str> {
        match self {
            Self::Rust | Self::Iroh | Self::Adopt => vec!["cargo"],
            Self::Go => vec!["go"],
            Self::Js => vec!["node", "npm"],
            Self::Unshare => vec!["unshare"],
            Self::Network => ["unshare"].into_iter().chain(NETWORKS).collect(),
            Self::Microsocks | Self::Dante | Self::Tinyproxy | Self::Squid => {
                let networks: &[&str] = match self {
                    Self::Microsocks => &NETWORKS,
                    _ => &[],
                };
                let program = self.proxy().into_iter();
                program
                    .chain(SANDBOX)
                    .chain(networks.iter().copied())
                    .collect()
            }
        }
    }

    /// Where the program of a proxy is.
    pub(crate) fn program(self) -> Option<PathBuf> {
        self.proxy().and_then(step::find)
    }

    /// The program of a proxy, which must be installed already.
    fn proxy(self) -> Option<&'static str> {
        match self {
            Self::Rust | Self::Go | Self::Js | Self::Iroh => None,
            Self::Unshare | Self::Network | Self::Adopt => None,
            Self::Dante => Some("danted"),
            Self::Microsocks | Self::Tinyproxy | Self::Squid => Some(self.name()),
        }
    }

    /// Builds the part, unless it is installed, and gives its program, or the folder of its programs.
    pub(crate) fn build(self) -> Result<PathBuf> {
        let folder = format!("tests/peers/{}", self.name());
        let place = step::root().join(&folder);
        match self {
            Self::Rust | Self::Iroh => {
                let mut cargo = step::program("cargo", &folder);
                step::share_target_folder(&mut cargo)?;
                let built = step::build(cargo.args(["build", "--release", "--locked"]))?;
                step::executable(&built, &format!("{}-peer", self.name()))
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
            Self::Microsocks | Self::Dante | Self::Tinyproxy | Self::Squid => {
                let program = self.program();
                program.with_context(|| format!("the PATH has no {}", self.name()))
            }
            Self::Unshare => step::find("unshare").context("the PATH has no unshare"),
            Self::Network => step::find("ip").context("the PATH has no ip"),
            Self::Adopt => {
                let mut cargo = step::program("cargo", "tests/adopt");
                step::share_target_folder(&mut cargo)?;
                let built = step::build(cargo.args(["build", "--locked"]))?;
                let mut folder = step::executable(&built, "hyper-adopt")?;
                folder.pop();
                Ok(folder)
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

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_part_is_required_by_the_name_it_is_reported_by() {
        for part in Part::value_variants() {
            assert_eq!(Part::from_str(part.name(), false), Ok(*part));
        }
    }

    #[test]
    fn suites_find_peers_and_proxies_by_different_variables() {
        assert_eq!(Part::Go.variable(), "PEER_GO");
        assert_eq!(Part::Dante.variable(), "PROXY_DANTE");
        assert_eq!(Part::Unshare.variable(), "TOOL_UNSHARE");
        assert_eq!(Part::Network.variable(), "TOOL_NETWORK");
    }

    #[test]
    fn only_the_observed_proxy_and_the_suite_network_need_networks() {
        assert_eq!(Part::Dante.needs(), ["danted", "unshare", "setpriv"]);
        assert!(Part::Microsocks.needs().contains(&"nft"));
        assert_eq!(Part::Network.needs(), ["unshare", "nsenter", "ip", "nft"]);
    }
}
