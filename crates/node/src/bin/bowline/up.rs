//! `bowline up`: a node that runs until it is told to stop.

use std::{net::SocketAddr, path::Path};

use node::{
    Event, Events, EventsError, Multiaddr, Node, admin, conn_state::Update, keyfile,
    multiaddr::Protocol,
};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use crate::{
    cli,
    failure::Failure,
    identify, key,
    output::Output,
    settings::{self, DEFAULT_PORT, Resolved},
};

/// How often a free port is looked for that is free for every transport and family at once.
const PORT_ATTEMPTS: usize = 16;

pub(crate) async fn run(args: cli::Up, output: Output) -> Result<(), Failure> {
    let settings = settings::resolve(args)?;
    let key = key::path(&settings.data_dir);
    let (keypair, _) = keyfile::load_or_create(&key).map_err(Failure::usage)?;
    let node = (settings.dialer)(Node::builder(keypair).config(settings.config.clone()));
    let (node, events) = node.build_with_events().map_err(Failure::job)?;
    let outcome = serve(&node, events, &settings, output).await;
    node.shutdown().await;
    outcome
}

async fn serve(
    node: &Node,
    mut events: Events,
    settings: &Resolved,
    output: Output,
) -> Result<(), Failure> {
    // Before anything is announced: whoever reads the ready line may send a signal at once.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::job)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::job)?;
    let (_, mut states) = node.tracker().subscribe();
    if settings.listen.is_empty() {
        listen_default(node).await?;
    }
    for address in &settings.listen {
        node.listen(address.clone()).await.map_err(Failure::job)?;
    }
    let (stopped, stop) = oneshot::channel::<()>();
    let admin = admin(node, settings.admin, stop).await?;
    let _mark = AdminMark::leave(&settings.data_dir, admin)?;
    announce(node, admin, output)?;
    let mut failures = bootstrap(node, &settings.bootstrap);
    let outcome = loop {
        tokio::select! {
            event = events.next() => match event {
                Ok(event) => print(&event, output)?,
                Err(EventsError::Lagged { missed }) => {
                    let object = json!({"event": "lagged", "missed": missed});
                    output.line(&object, || format!("{missed} events were missed"))?;
                }
                Err(_) => break Ok(()),
            },
            update = states.next() => match update {
                Update::Event(event) => {
                    let object = admin::describe_state(&event);
                    output.line(&object, || format!("{} is {}: {}", event.peer, event.to, event.cause))?;
                }
                Update::Lagged { missed, .. } => {
                    let object = json!({"event": "lagged", "missed": missed});
                    output.line(&object, || format!("{missed} changes of state were missed"))?;
                }
            },
            Some(failure) = failures.recv() => {
                let object = json!({"event": "dial_failed", "error": failure});
                output.line(&object, || format!("bootstrap: {failure}"))?;
            }
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
        }
    };
    drop(stopped);
    outcome
}

/// Everywhere on one port: the usual one, or a free one if it is taken.
async fn listen_default(node: &Node) -> Result<(), Failure> {
    let mut outcome = node.listen_everywhere(DEFAULT_PORT).await;
    for _ in 0..PORT_ATTEMPTS {
        match outcome {
            Err(error) if error.is_address_in_use() => {
                outcome = node.listen_everywhere(0).await;
                if let Some(port) = outcome.as_ref().ok().and_then(|all| port(all)) {
                    eprintln!("port {DEFAULT_PORT} is taken: listening on port {port} instead");
                }
            }
            _ => break,
        }
    }
    outcome.map(drop).map_err(Failure::job)
}

fn port(addresses: &[Multiaddr]) -> Option<u16> {
    addresses
        .first()?
        .iter()
        .find_map(|protocol| match protocol {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        })
}

async fn admin(
    node: &Node,
    address: SocketAddr,
    stop: oneshot::Receiver<()>,
) -> Result<SocketAddr, Failure> {
    let stop = async {
        let _ = stop.await;
    };
    let served = admin::serve(node.clone(), address, stop).await;
    served.map_err(|error| {
        Failure::job(format!(
            "cannot serve the admin endpoint on {address}: {error}"
        ))
    })
}

fn announce(node: &Node, admin: SocketAddr, output: Output) -> Result<(), Failure> {
    let addresses = node.listen_addresses();
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let object = json!({
        "event": "ready",
        "peer_id": node.peer_id().to_string(),
        "addresses": texts,
        "admin": format!("http://{admin}"),
    });
    output.line(&object, || {
        let mut lines = vec![format!("this is {}", node.peer_id())];
        lines.extend(texts.iter().map(|text| format!("listening on {text}")));
        lines.push(format!("admin endpoint on http://{admin}"));
        lines.join("\n")
    })
}

/// Dials every bootstrap peer, each address by itself; what fails comes out of the channel.
fn bootstrap(node: &Node, addresses: &[Multiaddr]) -> mpsc::Receiver<String> {
    let (sender, failures) = mpsc::channel(addresses.len().max(1));
    for address in addresses.iter().cloned() {
        let (node, sender) = (node.clone(), sender.clone());
        tokio::spawn(async move {
            if let Err(error) = node.dial([address]).await {
                // The channel has room for one failure an address.
                let _ = sender.try_send(error.to_string());
            }
        });
    }
    failures
}

fn print(event: &Event, output: Output) -> Result<(), Failure> {
    let Some((object, plain)) = describe(event) else {
        return Ok(());
    };
    output.line(&object, || plain)
}

fn describe(event: &Event) -> Option<(Value, String)> {
    Some(match event {
        Event::Connected { connection } => {
            let (peer, address, via) = (connection.peer(), connection.address(), connection.via());
            let direction = connection.direction();
            let object = json!({
                "event": "connected",
                "peer_id": peer.to_string(),
                "connection": connection.id().to_string(),
                "address": address.to_string(),
                "direction": direction.to_string(),
                "via": via,
            });
            (
                object,
                format!("connected to {peer} at {address} ({direction}, {via})"),
            )
        }
        Event::Identified { connection, info } => {
            let mut object = identify::describe(info);
            object["connection"] = connection.id().to_string().into();
            (object, format!("{} is {}", info.peer, info.agent))
        }
        Event::Disconnected {
            connection,
            reason,
            remaining,
        } => {
            let peer = connection.peer();
            let object = json!({
                "event": "disconnected",
                "peer_id": peer.to_string(),
                "connection": connection.id().to_string(),
                "reason": reason,
                "remaining": remaining,
            });
            (object, format!("disconnected from {peer}: {reason}"))
        }
        // Those of its own sockets stand in the first line.
        Event::Listening { address } if address.iter().any(|p| p == Protocol::P2pCircuit) => {
            let object = json!({"event": "listening", "address": address.to_string()});
            (object, format!("listening on {address}"))
        }
        #[cfg(feature = "relay")]
        Event::Reservation { event } => return crate::relaying::describe(event),
        Event::InboundFailed {
            address, reason, ..
        } => {
            let object = json!({
                "event": "inbound_failed",
                "address": address.to_string(),
                "reason": reason,
            });
            (object, format!("{address} was turned away: {reason}"))
        }
        _ => return None,
    })
}

/// A file in the data directory that tells other commands where the admin endpoint is; gone when the node is.
struct AdminMark(std::path::PathBuf);

impl AdminMark {
    fn leave(data_dir: &Path, admin: SocketAddr) -> Result<Self, Failure> {
        let path = data_dir.join("admin");
        let written = std::fs::write(&path, format!("http://{admin}\n"));
        written
            .map_err(|error| Failure::job(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for AdminMark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
