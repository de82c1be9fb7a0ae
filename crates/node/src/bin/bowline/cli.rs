//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::failure::Failure;

/// A peer-to-peer node whose connections hold.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, arg_required_else_help = false)]
pub(crate) struct Cli {
    /// Print one JSON object a line instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Up(Up),
    /// Ping a peer
    Ping(Ping),
    /// Ask a peer who it is
    Identify(Identify),
    /// Show the peers of the running node
    Peers(Asking),
    /// Show the slots that the running node grants as a relay
    #[cfg(feature = "relay")]
    Slots(Slots),
    /// Show every change of a peer's state as it comes
    Events(Asking),
    /// Show how a peer's state came about
    Why {
        /// The peer
        #[arg(value_name = "PEER")]
        peer: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Make or show the identity
    Key {
        #[command(subcommand)]
        command: Key,
    },
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Manual,
}

/// Every flag may also be set as BOWLINE_SECTION__KEY or in the TOML file; a flag wins over the environment, and the
/// environment over the file.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where the identity is kept [default: the user's data directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen here [default: TCP and QUIC on port 4077 of all interfaces]
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<String>,
    /// Dial this peer at start
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) bootstrap: Vec<String>,
    #[cfg(feature = "relay")]
    #[command(flatten)]
    pub(crate) relaying: Relaying,
    #[command(flatten)]
    pub(crate) dialing: Dialing,
    /// Serve the admin endpoint here [default: a free port on loopback]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) admin: Option<SocketAddr>,
}

/// What a node has to do with relays.
#[cfg(feature = "relay")]
#[derive(Debug, Args)]
pub(crate) struct Relaying {
    /// Relay for others
    #[arg(long)]
    pub(crate) relay_server: bool,
    /// Be reached through this relay
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) reserve_at: Vec<String>,
}

#[cfg(feature = "relay")]
#[derive(Debug, Args)]
pub(crate) struct Slots {
    /// Change one of the relay's terms, and show all of them: slots=64
    #[arg(long, value_name = "TERM=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// The peer's address, with or without its id at the end
    #[arg(value_name = "MULTIADDR")]
    pub(crate) address: String,
    /// How many pings
    #[arg(short = 'c', long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
    /// Seconds between two pings
    #[arg(short = 'i', long, default_value_t = 0.2, value_parser = seconds)]
    pub(crate) interval: f64,
    #[command(flatten)]
    pub(crate) dialing: Dialing,
}

/// How a command that dials does so.
#[derive(Debug, Args)]
pub(crate) struct Dialing {
    /// How an address is dialed over TCP, the first rule that is for it wins: '* via socks5://127.0.0.1:1080', 'cidr=10.0.0.0/8
    /// direct', 'suffix=.onion via socks5://127.0.0.1:9050', '* refuse'. With any rule, what none is for is refused
    #[arg(long, value_name = "RULE")]
    pub(crate) dialer: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Identify {
    /// The peer's address, with or without its id at the end
    #[arg(value_name = "MULTIADDR")]
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) dialing: Dialing,
}

/// Which running node is asked.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// Where that node keeps its identity [default: the user's data directory]
    #[arg(long, value_name = "DIR", conflicts_with = "admin")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where it serves its admin endpoint [default: as the data directory says]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) admin: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a new Ed25519 identity; an existing one is never overwritten
    New {
        /// Where the identity is kept [default: the user's data directory]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Show whose identity is kept
    Show {
        /// Where the identity is kept [default: the user's data directory]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds from 0 to 3600".to_owned()),
    }
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bowline", &mut script);
    print(&script)
}

pub(crate) fn manual() -> Result<(), Failure> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
    rendered.map_err(Failure::job)?;
    print(&page)
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    let written = std::io::stdout().write_all(bytes);
    written.map_err(|error| Failure::job(format!("cannot write to standard output: {error}")))
}
