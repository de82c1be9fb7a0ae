//! Network namespaces for processes that need a network of their own.

use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::sandbox::{Plan, Sandbox};

/// The kernel drops packets for up to a second after a link has come up.
const READY: &str = "
for link in LINKS; do
    until ip -brief link show $link | grep -q ' UP '; do sleep 0.01; done
done
";

/// A network namespace with a loopback interface. Dropping it ends every process in it.
#[derive(Debug)]
pub struct Place {
    sandbox: Sandbox,
    _folder: TempDir,
}

impl Place {
    /// Whether this machine can make network namespaces, according to `cargo xtask integration`.
    #[must_use]
    pub fn is_available() -> bool {
        std::env::var_os("TOOL_NETWORK").is_some()
    }

    /// A network whose loopback interface is up.
    ///
    /// # Errors
    /// If the system makes no namespace.
    pub fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("bowline-place-").context("no temporary folder")?;
        let plan = Plan::default().with_own_network();
        let sandbox = plan.start(&["sleep", "infinity"], &folder.path().join("log"))?;
        sandbox.shell("ip link set lo up")?;
        Ok(Self {
            sandbox,
            _folder: folder,
        })
    }

    /// Runs commands of the shell in this network.
    ///
    /// # Errors
    /// If one of the commands fails.
    pub fn shell(&self, script: &str) -> Result<()> {
        self.sandbox.shell(script)
    }

    /// Runs commands of the shell in this network. Before that, each name of another place in the commands becomes the
    /// namespace of that place, as `ip link` takes it.
    ///
    /// # Errors
    /// If one of the commands fails.
    pub fn shell_with(&self, script: &str, others: &[(&str, &Self)]) -> Result<()> {
        let named = others
            .iter()
            .fold(script.to_owned(), |script, (name, place)| {
                script.replace(name, &place.sandbox.id().to_string())
            });
        self.shell(&named)
    }

    /// Waits until these links carry packets.
    ///
    /// # Errors
    /// If a link does not come up in time.
    pub fn until_up(&self, links: &str) -> Result<()> {
        self.shell(&READY.replace("LINKS", links))
    }

    /// The same command, run in this network.
    #[must_use]
    pub fn inside(&self, command: &Command) -> Command {
        self.sandbox.inside(command)
    }
}
