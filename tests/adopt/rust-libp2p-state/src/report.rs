//! What the programs print, and the lines they are given.

use std::{
    io::{BufRead, BufReader, Read},
    thread,
    time::{Duration, Instant},
};

use conn_state::{ConnectionInfo, Limit, Route, Snapshot, Update};
use libp2p::PeerId;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver};

/// How long a connection is kept that nobody uses: longer than any story.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Commands that wait to be carried out.
const COMMANDS: usize = 16;

/// Prints one line. Whoever reads may be gone, which standard input will tell.
pub fn line(value: Value) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{value}");
}

/// What one who reads the events gets: `reader` is empty for the swarm's owner.
pub fn update(reader: &str, update: &Update<PeerId>) {
    line(match update {
        Update::Event(event) => json!({
            "event": "state",
            "reader": reader,
            "peer": event.peer.to_string(),
            "number": event.number,
            "from": event.from.to_string(),
            "to": event.to.to_string(),
            "cause": event.cause.to_string(),
            "detail": event.detail.as_deref(),
            "connection": event.connection.to_string(),
        }),
        Update::Lagged { missed, snapshot } => json!({
            "event": "lagged",
            "reader": reader,
            "missed": missed,
            "peers": peers(snapshot),
        }),
    });
}

/// How the peers stood when a reader began.
pub fn snapshot(reader: &str, snapshot: &Snapshot<PeerId>) {
    line(json!({ "event": "snapshot", "reader": reader, "peers": peers(snapshot) }));
}

fn peers(snapshot: &Snapshot<PeerId>) -> Vec<Value> {
    let peers = snapshot.peers.iter().map(|entry| {
        json!({
            "peer": entry.peer.to_string(),
            "state": entry.state.to_string(),
            "number": entry.number,
        })
    });
    peers.collect()
}

/// The connections to one peer.
pub fn connections(peer: PeerId, connections: &[ConnectionInfo]) {
    let connections = connections.iter().map(|connection| {
        let limit = match connection.route {
            Route::Relayed(Some(Limit { until, bytes })) => {
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                Some(json!({ "seconds": left.map(|left| left.as_secs()), "bytes": bytes }))
            }
            _ => None,
        };
        json!({
            "connection": connection.id.to_string(),
            "phase": connection.phase.to_string(),
            "age_ms": connection.age.as_millis() as u64,
            "direction": connection.direction.to_string(),
            "relayed": connection.route != Route::Direct,
            "limit": limit,
        })
    });
    let connections: Vec<Value> = connections.collect();
    line(json!({ "event": "connections", "peer": peer.to_string(), "connections": connections }));
}

/// The lines of an input that blocks, until it ends.
pub fn lines(input: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = mpsc::channel(COMMANDS);
    thread::spawn(move || {
        for line in BufReader::new(input).lines().map_while(Result::ok) {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}
