//! A local HTTP endpoint that shows the node's health and state.
//!
//! | path | answer |
//! | --- | --- |
//! | `/status` | the node's id, addresses and number of connections, as JSON |
//! | `/peers` | every connection with the state of its peer, as a JSON array |
//! | `/why?peer=ID` | the latest changes of that peer's state, as JSON |
//! | `/events` | the state of every peer, then every change of a state, one JSON object per line |
//! | `/healthz` | status 200 while the process runs |
//! | `/readyz` | status 200 while the node is joined or degraded (feature `bootstrap`), and 503 otherwise |
//! | `/metrics` | counters in the OpenMetrics text format (feature `metrics`) |
//!
//! The node's parts add further paths, such as `/slots`. The endpoint answers any other path with 404 and an empty
//! body.
//!
//! The endpoint listens on a Unix socket with mode 0600 ([`Listener::unix`]), to which only its owner can connect. On
//! request it also listens on TCP ([`Listener::tcp`]), where a request that changes something needs a token.
//!
//! The endpoint accepts a request only if the `Host` header contains `localhost`, an IP address or a name that the user has
//! listed ([`Listener::with_hosts`]), so that no web page can reach the endpoint through a DNS name of its own. For the same
//! reason a POST must have the content type `application/json`.
//!
//! The number of connections, their duration and the size of requests are limited. Each listener has its own limits, so
//! clients on TCP cannot lock out the owner of the socket.

mod accept;
mod access;
mod connect;
mod host;
mod listener;
mod lock;
mod place;
mod queries;
mod server;
mod states;
mod token;

use std::time::Instant;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use connect::{ConnectError, connect};
pub use host::{HostName, HostNameError};
pub use listener::{BindError, Endpoint, Listener};
pub use states::event as describe_state;
pub use token::Token;

use crate::Node;
use accept::Acceptor;
use access::Access;
use listener::{Files, Socket};
use queries::Streams;

#[derive(Clone)]
struct Admin {
    node: Node,
    started: Instant,
    streams: Streams,
}

/// A listener that serves the endpoint. Dropping it stops the endpoint and removes the listener's files.
#[derive(Debug)]
pub struct Serving {
    _stop: DropGuard,
    _files: Files,
}

/// Serves the endpoint on a listener, in a task of the current runtime.
pub fn serve(node: Node, listener: Listener) -> Serving {
    let app = app(node, listener.access);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    match listener.socket {
        Socket::Unix(socket) => {
            tokio::spawn(server::run(Acceptor::new(socket), app, stopped));
        }
        Socket::Tcp(socket) => {
            tokio::spawn(server::run(Acceptor::new(socket), app, stopped));
        }
    }
    Serving {
        _stop: stop.drop_guard(),
        _files: listener.files,
    }
}

/// The paths of the node and of its parts.
fn app(node: Node, access: Access) -> Router {
    let router = Router::new()
        .route("/status", get(status))
        .route("/peers", get(states::peers))
        .route("/why", get(states::why))
        .route("/events", get(states::events))
        .route("/healthz", get(async || "ok"));
    #[cfg(feature = "metrics")]
    let router = router.route("/metrics", get(metrics));
    let queries = node.queries();
    let router = match queries.iter().any(|query| query.path == "/readyz") {
        true => router,
        false => router.route("/readyz", get(ready)),
    };
    let stopping = node.stopping();
    let streams = Streams::default();
    let router = queries.into_iter().fold(router, |router, query| {
        queries::mount(router, query, &streams, &stopping)
    });
    let admin = Admin {
        node,
        started: Instant::now(),
        streams,
    };
    router
        .layer(middleware::from_fn_with_state(access, access::check))
        .with_state(admin)
}

async fn status(State(admin): State<Admin>) -> Json<Value> {
    let addresses = admin.node.listen_addresses();
    Json(json!({
        "peer_id": admin.node.peer_id().to_string(),
        "addresses": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "connections": admin.node.connections().len(),
        "uptime_s": admin.started.elapsed().as_secs(),
    }))
}

async fn ready(State(admin): State<Admin>) -> Response {
    match admin.node.is_listening() {
        true => "ready".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the node does not listen").into_response(),
    }
}

#[cfg(feature = "metrics")]
async fn metrics(State(admin): State<Admin>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (
        [(axum::http::header::CONTENT_TYPE, kind)],
        admin.node.metrics(),
    )
        .into_response()
}

#[cfg(test)]
mod tests;
