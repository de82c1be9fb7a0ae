//! `bowline up`: a node that runs until a signal stops it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use node::{
    Event, Events, EventsError, Multiaddr, Node, admin, conn_state::Update, error_chain, keyfile,
    multiaddr::Protocol,
};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use crate::{
    allocator::Reclaimer,
    cli,
    events::Lines,
    failure::Failure,
    key,
    output::Output,
    settings::{self, DEFAULT_PORT, Resolved},
};

/// The number of further ports that `up` tries. A port must be free for every transport and address family.
const PORT_ATTEMPTS: usize = 16;

pub(crate) async fn run(args: cli::Up, output: Output) -> Result<(), Failure> {
    let settings = settings::resolve(args)?;
    let key = key::path(&settings.data_dir);
    let (keypair, _) = keyfile::load_or_create(&key).map_err(Failure::usage_error)?;
    let node = (settings.dialer)(Node::builder(keypair).config(settings.config.clone()));
    let (node, events) = node.build_with_events().map_err(Failure::job_error)?;
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
    // A program that reads the ready line may send a signal at once, so install the handlers first.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::job_error)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::job_error)?;
    let (_, mut states) = node.tracker().subscribe();
    if settings.listen.is_empty() {
        listen_default(node).await?;
    }
    for address in &settings.listen {
        let bound = node.listen(address.clone()).await;
        bound.map_err(Failure::job_error)?;
    }
    let (stopped, stop) = oneshot::channel::<()>();
    let admin = admin(node, settings.admin, stop).await?;
    let _mark = AdminMark::leave(&settings.data_dir, admin)?;
    announce(node, admin, output)?;
    let mut failures = bootstrap(node, &settings.bootstrap);
    let reclaimer = Reclaimer::start();
    let mut lines = Lines::new(output);
    let outcome = loop {
        tokio::select! {
            event = events.next() => match event {
                Ok(event) => {
                    if let Event::Disconnected { .. } = event {
                        reclaimer.notify();
                    }
                    lines.event(&event)?;
                }
                Err(EventsError::Lagged { missed }) => lines.missed(missed)?,
                Err(_) => break Ok(()),
            },
            update = states.next() => match update {
                Update::Event(event) => lines.state(&event)?,
                Update::Lagged { missed, .. } => lines.missed(missed)?,
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

/// Listens on every interface and transport with one port: the default port, or a free port if the default port is
/// taken.
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
    outcome.map(drop).map_err(Failure::job_error)
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
    output.lines(&object, || {
        let mut lines = vec![format!("this is {}", node.peer_id())];
        lines.extend(texts.iter().map(|text| format!("listening on {text}")));
        lines.push(format!("admin endpoint on http://{admin}"));
        lines
    })
}

/// Dials every bootstrap address in its own task. The channel returns the failures.
fn bootstrap(node: &Node, addresses: &[Multiaddr]) -> mpsc::Receiver<String> {
    let (sender, failures) = mpsc::channel(addresses.len().max(1));
    for address in addresses.iter().cloned() {
        let (node, sender) = (node.clone(), sender.clone());
        tokio::spawn(async move {
            if let Err(error) = node.dial([address]).await {
                // The channel has room for one failure per address.
                let _ = sender.try_send(error_chain(&error));
            }
        });
    }
    failures
}

/// A file in the data directory that tells other commands the address of the admin endpoint. Dropping this removes it.
struct AdminMark(PathBuf);

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
