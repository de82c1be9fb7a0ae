//! A foreign peer on iroh-gossip: a member of one topic that publishes the lines of its standard input and prints what happens, as
//! one JSON object per line. With a command, it is the counterpart of a benchmark instead.

mod bench_gossip;
mod endpoint;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use futures::StreamExt;
use iroh::{EndpointId, SecretKey, address_lookup::memory::MemoryLookup};
use iroh_gossip::{
    api::{Event, GossipReceiver, GossipSender},
    proto::TopicId,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// A member of a topic on iroh-gossip that prints what happens as one JSON object per line
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    member: MemberArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run members of a topic, and carry out the lines of standard input
    BenchGossipMembers {
        /// How many
        #[arg(long, value_name = "N")]
        count: usize,
        /// A member in another process through which all members join
        #[arg(long, value_name = "ENDPOINT_ID@IP:PORT")]
        join: Option<Peer>,
    },
}

#[derive(Args)]
struct MemberArgs {
    /// The name of the topic, or its id as 64 hexadecimal digits
    #[arg(long, value_name = "NAME", required = true)]
    topic: Option<String>,
    /// Join the topic through this member; repeatable
    #[arg(long, value_name = "ENDPOINT_ID@IP:PORT")]
    peer: Vec<Peer>,
    /// Where to listen
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    addr: SocketAddr,
    /// Use the Ed25519 key from 32 bytes of this value [default: a random key]
    #[arg(long, value_name = "N")]
    key_seed: Option<u8>,
}

/// Another member with its address.
#[derive(Clone)]
struct Peer {
    id: EndpointId,
    address: SocketAddr,
}

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (id, address) = text.split_once('@').context("there is no '@'")?;
        Ok(Self {
            id: id.parse().context("this is no endpoint id")?,
            address: address.parse().context("this is no address")?,
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::BenchGossipMembers { count, join }) => {
            bench_gossip::members(count, join).await
        }
        None => run(cli.member).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&json!({"event": "error", "message": format!("{error:#}")}));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: MemberArgs) -> Result<()> {
    let name = args.topic.context("--topic is missing")?;
    let key = match args.key_seed {
        Some(seed) => SecretKey::from_bytes(&[seed; 32]),
        None => SecretKey::generate(),
    };
    let known = MemoryLookup::new();
    let member = endpoint::Member::start(key, args.addr, &known).await?;
    let (id, address) = (member.id, member.name());
    say(&json!({"event": "ready", "endpoint_id": id.to_string(), "address": address}));
    let router = member.serve();

    let ids = args.peer.iter().map(|peer| learn(&known, peer)).collect();
    let subscription = member.gossip.subscribe(topic(&name), ids).await?;
    let (sender, receiver) = subscription.split();
    tokio::select! {
        ended = publish(&sender, &known) => ended?,
        ended = report(receiver) => ended?,
        ended = signalled() => ended?,
    }
    drop(sender);
    let _ = timeout(GOODBYE, router.shutdown()).await;
    Ok(())
}

/// Remembers the address of a member.
fn learn(known: &MemoryLookup, peer: &Peer) -> EndpointId {
    endpoint::learn(known, peer.id, peer.address);
    peer.id
}

/// The id of a topic, as Bowline computes it from the name.
fn topic(name: &str) -> TopicId {
    match name.parse() {
        Ok(id) if name.len() == 64 => id,
        _ => TopicId::from_bytes(*blake3::hash(name.as_bytes()).as_bytes()),
    }
}

/// Carries out the lines of standard input: `publish TEXT` and `join ENDPOINT_ID@IP:PORT`.
async fn publish(sender: &GossipSender, known: &MemoryLookup) -> Result<()> {
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.split_once(' ') {
            Some(("publish", text)) => sender.broadcast(text.as_bytes().to_vec().into()).await?,
            Some(("join", peer)) => {
                let peer = learn(known, &peer.parse()?);
                sender.join_peers(vec![peer]).await?;
            }
            _ => bail!("unknown order '{line}'"),
        }
    }
    Ok(())
}

/// Prints the events of the topic.
async fn report(mut receiver: GossipReceiver) -> Result<()> {
    while let Some(event) = receiver.next().await {
        say(&match event? {
            Event::NeighborUp(id) => {
                json!({"event": "neighbour_up", "endpoint_id": id.to_string()})
            }
            Event::NeighborDown(id) => {
                json!({"event": "neighbour_down", "endpoint_id": id.to_string()})
            }
            Event::Received(message) => {
                let via = message.delivered_from.to_string();
                let data = String::from_utf8_lossy(&message.content);
                json!({"event": "message", "via": via, "data": data})
            }
            Event::Lagged => json!({"event": "lagged"}),
        });
    }
    bail!("the subscription has ended")
}

async fn signalled() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Prints one line at once.
fn say(line: &Value) {
    let mut out = io::stdout().lock();
    // A closed standard output means that the suite is gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
