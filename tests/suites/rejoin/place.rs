//! Network namespaces with processes in them.

use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tests::harness::Home;
use tests::harness::sandbox::{Plan, Sandbox};

use crate::watched::Watched;

/// The kernel drops packets for up to a second after a link has come up.
const READY: &str = "
for link in LINKS; do
    until ip -brief link show $link | grep -q ' UP '; do sleep 0.01; done
done
";

/// A network namespace with a loopback interface. Dropping it ends every process in it.
pub(crate) struct Place {
    sandbox: Sandbox,
    _folder: TempDir,
}

/// Whether this machine can make network namespaces.
pub(crate) fn available() -> bool {
    std::env::var_os("TOOL_NETWORK").is_some()
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("bowline-rejoin-").context("no temporary folder")?;
        let plan = Plan::default().with_own_network();
        let sandbox = plan.start(&["sleep", "infinity"], &folder.path().join("log"))?;
        sandbox.shell("ip link set lo up")?;
        Ok(Self {
            sandbox,
            _folder: folder,
        })
    }

    /// The name of this network for `ip link`.
    pub(crate) fn id(&self) -> String {
        self.sandbox.id().to_string()
    }

    /// Runs commands of the shell here.
    pub(crate) fn shell(&self, script: &str) -> Result<()> {
        self.sandbox.shell(script)
    }

    /// Waits until these links carry packets.
    pub(crate) fn until_up(&self, links: &str) -> Result<()> {
        self.shell(&READY.replace("LINKS", links))
    }

    /// Starts a program here that prints the events of a node.
    pub(crate) fn start(&self, name: &str, command: &Command) -> Result<Watched> {
        Watched::start(name, &mut self.sandbox.inside(command))
    }

    /// Starts `bowline up` here, with mDNS unless the flags say otherwise.
    pub(crate) fn up(&self, home: &Home, flags: &[String]) -> Result<Watched> {
        let mut command = home.bowline_with_data(&["up", "--json"]);
        command.env_remove("BOWLINE_BOOTSTRAP__MDNS");
        self.start("bowline", command.args(flags))
    }
}
