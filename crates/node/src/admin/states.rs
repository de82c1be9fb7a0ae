//! The states of peers: the current states, the latest changes with their causes, and a stream of changes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use conn_state::{ConnectionInfo, Event, Limit, Reason, Route, Snapshot, Update};
use futures::{StreamExt, stream};
use libp2p_identity::PeerId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use crate::{Connection, ConnectionId, parse_peer_id};

/// Every connection whose peer is known, including those in their handshake.
pub(super) async fn peers(State(admin): State<Admin>) -> Json<Value> {
    let now = Instant::now();
    let live = admin.node.connections().into_iter();
    let live: BTreeMap<ConnectionId, Connection> = live.map(|c| (c.id(), c)).collect();
    let tracker = admin.node.tracker();
    let (snapshot, _) = tracker.subscribe();
    let mut rows = Vec::new();
    for entry in snapshot.peers {
        for info in tracker.connections(now, &entry.peer) {
            let mut row = state(entry.state);
            row["peer_id"] = entry.peer.to_string().into();
            describe(&mut row, &info);
            if let Some(connection) = live.get(&info.id) {
                describe_live(&mut row, connection);
            }
            rows.push(row);
        }
    }
    Json(rows.into())
}

fn state(state: conn_state::State) -> Value {
    let reason = match state {
        conn_state::State::Transient(Reason::Handshaking) => Some("handshaking"),
        conn_state::State::Transient(Reason::Limited) => Some("limited"),
        _ => None,
    };
    json!({"state": name(state), "reason": reason})
}

fn name(state: conn_state::State) -> &'static str {
    match state {
        conn_state::State::NotConnected => "not_connected",
        conn_state::State::Transient(_) => "transient",
        conn_state::State::Connected => "connected",
    }
}

fn describe(row: &mut Value, info: &ConnectionInfo) {
    row["connection"] = info.id.to_string().into();
    row["phase"] = info.phase.to_string().into();
    row["direction"] = info.direction.to_string().into();
    row["age_s"] = info.age.as_secs().into();
    row["phase_age_s"] = info.phase_age.as_secs().into();
}

fn describe_live(row: &mut Value, connection: &Connection) {
    if let Route::Relayed(Some(Limit { until, bytes, .. })) = connection.route() {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        row["limit_left_s"] = left.map(|left| left.as_secs()).into();
        row["limit_left_bytes"] = bytes.into();
    }
    let micros = |rtt: Option<Duration>| rtt.map(|rtt| rtt.as_micros() as u64);
    row["address"] = connection.address().to_string().into();
    row["via"] = connection.via().into();
    row["rtt_us"] = micros(connection.rtt()).into();
    row["tcp_rtt_us"] = micros(tcp_rtt(connection)).into();
    row["streams"] = connection.streams().into();
    row["inbound_streams"] = connection.inbound_streams().into();
    row["agent"] = connection
        .identified()
        .map(|info| info.agent.as_str().to_owned())
        .into();
}

/// The round-trip time that the kernel measured. Through a proxy, it is the round-trip time to the proxy.
#[cfg(feature = "tcp")]
fn tcp_rtt(connection: &Connection) -> Option<Duration> {
    Some(connection.link()?.info().ok()?.rtt)
}

#[cfg(not(feature = "tcp"))]
fn tcp_rtt(_: &Connection) -> Option<Duration> {
    None
}

/// The maximum length of a peer id as text. The time to parse an id grows with the square of its length. The ids of
/// all key types have at most 64 characters.
const MAX_PEER_ID: usize = 128;

#[derive(Deserialize)]
pub(super) struct Whom {
    peer: String,
}

/// The latest events of one peer, oldest first.
pub(super) async fn why(State(admin): State<Admin>, Query(whom): Query<Whom>) -> Response {
    if whom.peer.len() > MAX_PEER_ID {
        let problem = format!("the peer id is longer than {MAX_PEER_ID} characters");
        return (StatusCode::BAD_REQUEST, problem).into_response();
    }
    let Some(peer) = parse_peer_id(&whom.peer) else {
        let problem = format!("'{}' is not a peer id", whom.peer);
        return (StatusCode::BAD_REQUEST, problem).into_response();
    };
    let tracker = admin.node.tracker();
    let events = tracker.history(&peer);
    let mut answer = state(tracker.state(&peer));
    answer["peer_id"] = peer.to_string().into();
    answer["events"] = events.iter().map(event).collect();
    Json(answer).into_response()
}

/// One change of a peer's state, as JSON.
pub fn event(event: &Event<PeerId>) -> Value {
    let at = SystemTime::now().checked_sub(event.at.elapsed());
    let since_epoch = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    json!({
        "event": "state",
        "peer_id": event.peer.to_string(),
        "number": event.number,
        "from": event.from.to_string(),
        "to": event.to.to_string(),
        "cause": event.cause.to_string(),
        "detail": event.detail.as_deref(),
        "connection": event.connection.to_string(),
        "at_ms": since_epoch.map(|since| since.as_millis() as u64),
    })
}

fn snapshot(snapshot: &Snapshot<PeerId>) -> Value {
    let peers = snapshot.peers.iter().map(|entry| {
        let mut row = state(entry.state);
        row["peer_id"] = entry.peer.to_string().into();
        row["number"] = entry.number.into();
        row
    });
    json!({"event": "snapshot", "peers": peers.collect::<Vec<_>>()})
}

/// The state of every peer and then each change, one JSON object per line, until the client disconnects or the node
/// stops.
pub(super) async fn events(State(admin): State<Admin>) -> Response {
    let (first, updates) = admin.node.tracker().subscribe();
    let live = stream::unfold(updates, async |mut updates| {
        let lines = match updates.next().await {
            Update::Event(changed) => line(&event(&changed)),
            Update::Lagged {
                missed,
                snapshot: now,
            } => line(&json!({"event": "lagged", "missed": missed})) + &line(&snapshot(&now)),
        };
        Some((lines, updates))
    });
    let lines = stream::iter([line(&snapshot(&first))]).chain(live);
    let lines = lines.take_until(admin.node.stopping().cancelled_owned());
    admin.streams.ndjson(lines)
}

fn line(object: &Value) -> String {
    format!("{object}\n")
}
