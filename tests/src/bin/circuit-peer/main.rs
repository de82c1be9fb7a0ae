//! A Bowline node behind the face that the foreign peers share (`peers/README.md`), as far as circuits need it: `listen`
//! behind a relay, and `echo` through one. What relays is the `bowline` binary.

mod echo;

use std::io::{self, Read};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use node::relay_slots::{ClientConfig, ClientEvent};
use node::{
    Config, Event, Events, EventsError, Keypair, Multiaddr, Node, RelayConfig, ReservationEvent,
    error_chain,
};
use serde_json::{Value, json};
use tests::harness::program::{end, say};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How many streams may wait for being echoed.
const WAITING: usize = 4;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Echo until SIGTERM or the end of standard input
    Listen {
        /// Reserve a slot at this relay, and keep it
        #[arg(long, value_name = "MULTIADDR")]
        reserve: Vec<Multiaddr>,
        #[command(flatten)]
        stack: Stack,
    },
    /// Dial a peer, have it echo bytes, then close
    Echo {
        address: Multiaddr,
        /// How many bytes
        #[arg(long, value_name = "N", default_value_t = 100_000)]
        bytes: u64,
        #[command(flatten)]
        stack: Stack,
    },
}

#[derive(Debug, Args)]
struct Stack {
    /// Where it listens; it dials by any
    #[arg(long, value_enum)]
    transport: Transport,
    /// Taken as it comes: a node offers both, and prefers TLS
    #[arg(long)]
    #[allow(dead_code, reason = "it is part of the face")]
    security: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Transport {
    Tcp,
    Quic,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Listen { reserve, stack } => listen(reserve, stack.transport).await,
        Command::Echo { address, bytes, .. } => dial(address, bytes).await,
    };
    end(done)
}

async fn listen(relays: Vec<Multiaddr>, transport: Transport) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    // The suites have relays whose slots last for seconds.
    let client = ClientConfig::default().with_min_ttl(Duration::from_secs(1));
    let relays = RelayConfig::default()
        .with_reserve_at(relays)
        .with_client(client);
    let (node, mut events) = node(Config::default().with_relay(relays))?;
    let mut streams = node.handle_limited(echo::ECHO, WAITING)?;
    let address = match transport {
        Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
        Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
    };
    let addresses = node.listen(address.parse()?).await?;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    say(&json!({"event": "ready", "peer_id": node.peer_id().to_string(), "addresses": addresses}));
    let mut closed = stdin_closed();
    loop {
        tokio::select! {
            Some(incoming) = streams.next() => {
                tokio::spawn(echo::serve(incoming));
            }
            event = events.next() => match event {
                Ok(event) => report(&node, &event),
                Err(EventsError::Lagged { .. }) => {}
                Err(error) => return Err(error.into()),
            },
            _ = terminate.recv() => break,
            _ = &mut closed => break,
        }
    }
    node.shutdown().await;
    Ok(())
}

async fn dial(address: Multiaddr, bytes: u64) -> anyhow::Result<()> {
    let (node, mut events) = node(Config::default())?;
    let reporting = node.clone();
    tokio::spawn(async move {
        while let Ok(event) = events.next().await {
            report(&reporting, &event);
        }
    });
    let job = echo::echo(&node, address, bytes);
    tokio::time::timeout(echo::PATIENCE, job).await??;
    say(&json!({"event": "done"}));
    node.shutdown().await;
    Ok(())
}

fn node(config: Config) -> anyhow::Result<(Node, Events)> {
    let node = Node::builder(Keypair::generate_ed25519()).config(config);
    Ok(node.build_with_events()?)
}

fn report(node: &Node, event: &Event) {
    let line = match event {
        Event::Connected {
            peer,
            connection,
            address,
            ..
        } => {
            // A connection that is closed already was not of use to anyone.
            let connection = node.connection_by_id(*connection);
            json!({
                "event": "connected",
                "peer_id": peer.to_string(),
                "address": address.to_string(),
                "limited": connection.is_some_and(|connection| connection.is_limited()),
            })
        }
        Event::Disconnected {
            peer,
            reason,
            remaining: 0,
            ..
        } => json!({
            "event": "disconnected",
            "peer_id": peer.to_string(),
            "reason": reason.to_string(),
        }),
        Event::Part(event) => {
            let event = event.downcast_ref::<ReservationEvent>();
            match event.and_then(|event| reservation(node, &event.0)) {
                Some(line) => line,
                None => return,
            }
        }
        _ => return,
    };
    say(&line);
}

fn reservation(node: &Node, event: &ClientEvent) -> Option<Value> {
    let granted = |relay: &node::PeerId, renewal: bool| {
        let addresses = node.listen_addresses();
        let addresses = addresses.iter().map(ToString::to_string);
        let addresses: Vec<String> = addresses
            .filter(|address| address.contains("/p2p-circuit"))
            .collect();
        json!({
            "event": "reserved",
            "relay": relay.to_string(),
            "renewal": renewal,
            "addresses": addresses,
        })
    };
    Some(match event {
        ClientEvent::Granted { relay, .. } => granted(relay, false),
        ClientEvent::Renewed { relay, .. } => granted(relay, true),
        ClientEvent::Refused { status, .. } => json!({
            "event": "refused",
            "message": format!("{} (status {})", status.meaning(), status.code()),
        }),
        ClientEvent::Failed { error, .. } => {
            json!({"event": "refused", "message": error_chain(error)})
        }
        _ => return None,
    })
}

fn stdin_closed() -> oneshot::Receiver<()> {
    let (send, closed) = oneshot::channel();
    thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = io::stdin().read_to_end(&mut rest);
        let _ = send.send(());
    });
    closed
}
