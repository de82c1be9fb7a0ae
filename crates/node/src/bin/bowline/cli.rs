//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{failure::Failure, settings::paths};

/// Run a libp2p-compatible peer-to-peer node, and query running nodes
#[derive(Debug, Parser)]
#[command(
    name = "bowline",
    version,
    arg_required_else_help = false,
    after_help = "Without --data-dir, every command uses the data directory in the environment variable BOWLINE_NODE__DATA_DIR."
)]
pub(crate) struct Cli {
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Up(Up),
    /// Ping a peer and print the round-trip times
    Ping(Ping),
    /// Print a peer's id, software, protocols and addresses
    Identify(Identify),
    /// List the running node's connections and the state of each peer
    Peers(Peers),
    /// List the relay slots that the running node has granted, or change its relay terms
    #[cfg(feature = "relay")]
    Slots(Slots),
    /// List the running node's topics, with the neighbours in each topic
    #[cfg(feature = "gossip")]
    Topics(Asking),
    /// Publish each line of standard input to a topic
    #[cfg(feature = "gossip")]
    Pub(Topic),
    /// Print the messages of a topic as they arrive
    #[cfg(feature = "gossip")]
    Sub(Topic),
    /// Print the state of every peer, and then each change as it happens
    Events(Asking),
    /// Print the latest changes of one peer's state, with their causes
    Why {
        /// The id of the peer
        #[arg(value_name = "PEER")]
        peer: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Find peers, values and providers in a Kademlia DHT, or store values and providers there
    #[command(arg_required_else_help = false)]
    Dht {
        #[command(subcommand)]
        command: Dht,
    },
    /// Create or show the node's identity (its private key)
    #[command(arg_required_else_help = false)]
    Key {
        #[command(subcommand)]
        command: Key,
    },
    /// Print a script that completes bowline's commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page in roff format
    Manual,
}

/// Environment variables (BOWLINE_SECTION__KEY) and a TOML file can set the same options. A flag overrides the
/// environment, and the environment overrides the file.
#[derive(Debug, Default, Args)]
pub(crate) struct Up {
    /// Store the identity and the saved peers in this directory [default: bowline in the user's data directory]
    #[arg(long, value_name = "DIR", value_parser = paths::flag)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", value_parser = paths::flag)]
    pub(crate) config: Option<PathBuf>,
    /// Listen on this address; repeatable [default: TCP and QUIC on port 4077 of all interfaces]
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<String>,
    #[command(flatten)]
    pub(crate) joining: Joining,
    #[cfg(feature = "relay")]
    #[command(flatten)]
    pub(crate) relaying: Relaying,
    /// Take part in this topic; repeatable
    #[cfg(feature = "gossip")]
    #[arg(long, value_name = "NAME", value_parser = topic)]
    pub(crate) topic: Vec<String>,
    /// Accept gossip links of iroh peers on this UDP address
    #[cfg(feature = "gossip")]
    #[arg(long, value_name = "IP:PORT", value_parser = socket)]
    pub(crate) iroh_listen: Option<SocketAddr>,
    /// Join the topics through this iroh peer; repeatable
    #[cfg(feature = "gossip")]
    #[arg(long, value_name = "ENDPOINT_ID@IP:PORT")]
    pub(crate) iroh_peer: Vec<String>,
    #[command(flatten)]
    pub(crate) dialing: Dialing,
    /// Serve the admin endpoint on this TCP address, too [default: only on a Unix socket in the data directory]
    #[arg(long, value_name = "IP:PORT", value_parser = socket)]
    pub(crate) admin: Option<SocketAddr>,
}

/// The flags about joining the network.
#[derive(Debug, Default, Args)]
pub(crate) struct Joining {
    /// Join the network through this peer, or through the peers of /dnsaddr/NAME; repeatable
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) bootstrap: Vec<String>,
    /// Read further bootstrap addresses from this file, one per line, and read it again when it changes
    #[arg(long, value_name = "FILE", value_parser = paths::flag)]
    pub(crate) bootstrap_file: Option<PathBuf>,
    /// Always keep a connection to this peer; repeatable
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) keep: Vec<String>,
    /// Do not search the local network for peers, and do not announce this node there
    #[arg(long)]
    pub(crate) no_mdns: bool,
}

/// The flags about relays.
#[cfg(feature = "relay")]
#[derive(Debug, Default, Args)]
pub(crate) struct Relaying {
    /// Relay connections for other peers
    #[arg(long)]
    pub(crate) relay_server: bool,
    /// Reserve a slot at this relay, so that peers can reach this node through it; repeatable
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) reserve_at: Vec<String>,
}

#[cfg(feature = "relay")]
#[derive(Debug, Args)]
pub(crate) struct Slots {
    /// Change one of the relay's terms, such as slots=64, and print all terms; repeatable
    #[arg(long, value_name = "TERM=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// The peer's address. If it ends in /p2p/ID, only that peer is accepted
    #[arg(value_name = "MULTIADDR")]
    pub(crate) address: String,
    /// Number of pings
    #[arg(short = 'c', long, value_name = "N", default_value_t = 4, value_parser = count, allow_negative_numbers = true)]
    pub(crate) count: u32,
    /// Seconds between pings
    #[arg(short = 'i', long, value_name = "SECONDS", default_value_t = 0.2, value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) interval: f64,
    #[command(flatten)]
    pub(crate) dialing: Dialing,
}

/// The flag of every command that dials.
#[derive(Debug, Default, Args)]
pub(crate) struct Dialing {
    /// Add a dialing rule, such as '* via socks5://127.0.0.1:1080'; repeatable
    ///
    /// A rule has a match and an action. The first rule that matches an address applies. If no rule matches, the node
    /// refuses the address. QUIC is used only for addresses that the rules dial directly.
    ///
    /// Examples: '* via socks5://127.0.0.1:1080' dials everything through a proxy; '* via socks5://127.0.0.1:1080 else
    /// direct' dials directly while the proxy is down; 'cidr=10.0.0.0/8 direct' dials a network directly;
    /// 'suffix=.onion via socks5://127.0.0.1:9050' sends onion addresses to Tor; '* refuse' refuses everything.
    #[arg(long, value_name = "RULE")]
    pub(crate) dialer: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Identify {
    /// The peer's address. If it ends in /p2p/ID, only that peer is accepted
    #[arg(value_name = "MULTIADDR")]
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) dialing: Dialing,
}

/// The running node takes part in the topic while the command runs. If no node runs and you name a member of the topic, the
/// command starts a node with a new identity.
#[cfg(feature = "gossip")]
#[derive(Debug, Args)]
pub(crate) struct Topic {
    /// The name of the topic, or its id as 64 hexadecimal digits
    #[arg(value_name = "TOPIC", value_parser = topic)]
    pub(crate) topic: String,
    /// Join the topic through this member; repeatable
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) bootstrap: Vec<String>,
    /// Join the topic through this iroh peer; repeatable
    #[arg(long, value_name = "ENDPOINT_ID@IP:PORT")]
    pub(crate) iroh_peer: Vec<String>,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Peers {
    /// List the peers that the node may dial to join or rejoin its network
    #[arg(long)]
    pub(crate) candidates: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// The running node that a command queries.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// Query the node that runs with this data directory [default: bowline in the user's data directory]
    #[arg(long, value_name = "DIR", value_parser = paths::flag)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Query this TCP address, with the token in the data directory if needed [default: the Unix socket in the data
    /// directory]
    #[arg(long, value_name = "IP:PORT", value_parser = socket)]
    pub(crate) admin: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dht {
    /// Print the addresses of a peer
    Find {
        /// The id of the peer
        #[arg(value_name = "PEER")]
        peer: String,
        #[command(flatten)]
        through: Through,
    },
    /// Print the best value of a key
    Get {
        /// The key, such as /app/name or /pk/PEER
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        through: Through,
    },
    /// Store a value
    Put {
        /// The key, such as /app/name
        #[arg(value_name = "KEY")]
        key: String,
        /// The value
        #[arg(value_name = "VALUE")]
        value: String,
        /// Read the value as hexadecimal digits
        #[arg(long)]
        hex: bool,
        #[command(flatten)]
        through: Through,
    },
    /// Announce that the running node provides some content
    Provide {
        /// The CID of the content
        #[arg(value_name = "CID")]
        cid: String,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        asking: Asking,
    },
    /// List peers that provide some content
    Providers {
        /// The CID of the content
        #[arg(value_name = "CID")]
        cid: String,
        #[command(flatten)]
        through: Through,
    },
    /// Stop publishing a value, or the running node as a provider of some content; other peers keep the record for up to 48 hours
    Unpublish {
        /// The key of the value, such as /app/name, or the CID of the content
        #[arg(value_name = "KEY|CID")]
        what: String,
        #[command(flatten)]
        asking: Asking,
    },
}

/// The node that sends a query to the DHT: the running node, or a new node with a new identity.
#[derive(Debug, Args)]
pub(crate) struct Through {
    /// Do not use the running node, but join the DHT through this peer; repeatable
    #[arg(long, value_name = "MULTIADDR", conflicts_with_all = ["data_dir", "admin"])]
    pub(crate) bootstrap: Vec<String>,
    /// Do not use the running node, but read settings from this TOML file
    #[arg(long, value_name = "FILE", value_parser = paths::flag, conflicts_with_all = ["data_dir", "admin"])]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limit: Limit,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// The time limit of a query.
#[derive(Debug, Args)]
pub(crate) struct Limit {
    /// Seconds to wait for the result
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = limit, allow_negative_numbers = true)]
    pub(crate) timeout: f64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Create an Ed25519 identity, unless an identity exists
    New {
        /// Store the identity in this directory [default: bowline in the user's data directory]
        #[arg(long, value_name = "DIR", value_parser = paths::flag)]
        data_dir: Option<PathBuf>,
    },
    /// Print the peer id and the path of the key file
    Show {
        /// Read the identity in this directory [default: bowline in the user's data directory]
        #[arg(long, value_name = "DIR", value_parser = paths::flag)]
        data_dir: Option<PathBuf>,
    },
}

#[cfg(feature = "gossip")]
fn topic(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("the name of a topic must not be empty".to_owned()),
        name => Ok(name.to_owned()),
    }
}

fn count(text: &str) -> Result<u32, String> {
    let count = text.parse::<u32>().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "the number of pings must be a whole number, 1 or more".to_owned())
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| "write an IP address with a port, such as 127.0.0.1:4078".to_owned();
    text.parse().map_err(wrong)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("the seconds must be a number from 0 to 3600".to_owned()),
    }
}

fn limit(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (1.0..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("the seconds must be a number from 1 to 600".to_owned()),
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
