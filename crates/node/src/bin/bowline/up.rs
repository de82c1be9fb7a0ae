//! `bowline up`: a node that runs until a signal stops it.

use std::path::{Path, PathBuf};

use node::{
    Config, Event, Events, Moment, Multiaddr, Node,
    admin::{self, BindError, Listener},
    keyfile::{self, KeyFileError},
    multiaddr::Protocol,
};
use rustix::fs::{Access, access};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    LAST_LINES,
    allocator::Reclaimer,
    cli,
    events::Lines,
    failure::{self, Failure},
    key,
    open_files::{self, SoftLimit},
    output::{LiveOutput, Output},
    settings::{self, Admin, DEFAULT_PORT, Resolved},
};
#[cfg(feature = "gossip")]
use crate::{gossip, iroh};

pub(crate) async fn run(args: cli::Up, files: SoftLimit, output: Output) -> Result<(), Failure> {
    let mut settings = settings::resolve(args)?;
    fit_open_files(files, &mut settings.config);
    let key = key::path(&settings.data_dir);
    let (keypair, _) = keyfile::load_or_create(&key).map_err(|error| match error {
        KeyFileError::Write { .. } => Failure::system_error(error),
        _ => Failure::usage_error(error),
    })?;
    let bound = bind_admin(&settings.data_dir, &settings.admin).await;
    let admin = bound.map_err(|error| match error {
        BindError::InUse { .. } => Failure::usage_error(error),
        _ => Failure::system_error(error),
    })?;
    let peers = leave_out_unwritable_peers(&mut settings.config);
    warn_unsaved(&settings.data_dir, &admin, peers.as_deref());
    let node = (settings.dialer)(Node::builder(keypair).config(settings.config.clone()));
    let (node, events) = node
        .listen_first()
        .build_with_events()
        .map_err(Failure::job_error)?;
    let output = LiveOutput::new(output);
    let outcome = serve(&node, events, admin, &settings, &output).await;
    node.shutdown().await;
    output.finish(LAST_LINES);
    outcome
}

/// Runs without saved peers if their file cannot be written. Returns the file in this case.
fn leave_out_unwritable_peers(config: &mut Config) -> Option<PathBuf> {
    let path = config.bootstrap.saved.as_ref()?;
    let place = match path.exists() {
        true => path.as_path(),
        false => path.parent()?,
    };
    match access(place, Access::WRITE_OK) {
        Ok(()) => None,
        Err(_) => config.bootstrap.saved.take(),
    }
}

/// Prints one line with the names of the files that the node cannot write in a read-only data directory.
fn warn_unsaved(data_dir: &Path, admin: &[Listener], peers: Option<&Path>) {
    let unsaved = admin.iter().rev().flat_map(Listener::unsaved);
    let unsaved = unsaved.map(PathBuf::as_path).chain(peers);
    let names = unsaved.filter_map(|path| path.file_name());
    let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    let Some(socket) = admin.last().filter(|_| !names.is_empty()) else {
        return;
    };
    failure::warn(&format!(
        "the node cannot write to the data directory {}: it runs without the files {} there, and its admin socket is {}",
        data_dir.display(),
        names.join(", "),
        socket.endpoint()
    ));
}

/// Keeps the node's limits below the limit of open files.
fn fit_open_files(files: SoftLimit, config: &mut Config) {
    match open_files::fit(files.now, config) {
        (line, true) => tracing::warn!("{line}"),
        (line, false) => tracing::info!(before = files.before, "{line}"),
    }
}

async fn serve(
    node: &Node,
    events: Events,
    admin: Vec<Listener>,
    settings: &Resolved,
    output: &LiveOutput,
) -> Result<(), Failure> {
    // A program that reads the ready line may send a signal at once, so install the handlers first.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::job_error)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::job_error)?;
    let mut timeline = node.timeline_of(events);
    if settings.listen.is_empty() {
        listen_default(node).await?;
    }
    for address in &settings.listen {
        let bound = node.listen(address.clone()).await;
        bound.map_err(Failure::job_error)?;
    }
    #[cfg(feature = "gossip")]
    gossip::listen(node, &settings.topics)?;
    node.begin();
    #[cfg(feature = "gossip")]
    let _topics = gossip::take_part(node, &settings.topics)?;
    let endpoint = admin.first().map(|bound| bound.endpoint().to_string());
    let admin = admin.into_iter();
    let _serving: Vec<_> = admin
        .map(|bound| admin::serve(node.clone(), bound))
        .collect();
    let announced = announce(node, endpoint.as_deref(), output);
    let reclaimer = Reclaimer::start();
    let mut lines = Lines::new(output, announced);
    loop {
        tokio::select! {
            moment = timeline.next() => match moment {
                Some(Moment::Event(event)) => {
                    if let Event::Disconnected { .. } = event {
                        reclaimer.notify();
                    }
                    match event {
                        Event::Addresses { .. } => lines.addresses(node.listen_addresses()),
                        event => lines.event(&event),
                    }
                }
                Some(Moment::State(event)) => lines.state(&event),
                Some(Moment::Missed(missed)) => {
                    lines.missed(missed);
                    lines.addresses(node.listen_addresses());
                }
                Some(_) => {}
                None => return Ok(()),
            },
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// Listens on every interface and transport with one port: the default port, or a free port if the default port is
/// taken.
async fn listen_default(node: &Node) -> Result<(), Failure> {
    let mut outcome = node.listen_everywhere(DEFAULT_PORT).await;
    if matches!(&outcome, Err(error) if error.is_address_in_use()) {
        outcome = node.listen_everywhere(0).await;
        if let Some(port) = outcome.as_ref().ok().and_then(|all| port(all)) {
            failure::warn(&format!(
                "port {DEFAULT_PORT} is taken: listening on port {port} instead"
            ));
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

/// Binds the admin endpoint: a Unix socket, and a TCP address on request. The node announces the first listener of the result.
///
/// The socket holds the lock of the data directory, so it is bound first and dropped last.
async fn bind_admin(data_dir: &Path, admin: &Admin) -> Result<Vec<Listener>, BindError> {
    let unix = Listener::unix(data_dir).await?;
    Ok(match admin.listen {
        Some(address) => {
            let tcp = Listener::tcp(address, admin.open_reads, data_dir).await?;
            vec![tcp.with_hosts(admin.hosts.iter().cloned()), unix]
        }
        None => vec![unix],
    })
}

/// Prints the ready line. Returns the addresses in it.
fn announce(node: &Node, admin: Option<&str>, output: &LiveOutput) -> Vec<Multiaddr> {
    let addresses = node.listen_addresses();
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    #[cfg(feature = "gossip")]
    let iroh = iroh::own(node);
    #[cfg(not(feature = "gossip"))]
    let iroh: Vec<String> = Vec::new();
    let mut object = json!({
        "event": "ready",
        "peer_id": node.peer_id().to_string(),
        "addresses": texts,
        "admin": admin,
    });
    if !iroh.is_empty() {
        object["iroh"] = iroh.clone().into();
    }
    output.lines(&object, || {
        let mut lines = vec![format!("this is {}", node.peer_id())];
        lines.extend(texts.iter().map(|text| format!("listening on {text}")));
        lines.extend(
            iroh.iter()
                .map(|at| format!("iroh peers reach this node at {at}")),
        );
        lines.extend(
            admin
                .iter()
                .map(|admin| format!("admin endpoint on {admin}")),
        );
        lines
    });
    addresses
}
