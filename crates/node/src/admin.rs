//! A local HTTP endpoint that shows the node's health and state.
//!
//! | path | answer |
//! | --- | --- |
//! | `/status` | the node's id, addresses and number of connections, as JSON |
//! | `/peers` | every connection with the state of its peer, as a JSON array |
//! | `/why?peer=ID` | the latest changes of that peer's state, as JSON |
//! | `/events` | the state of every peer, then every change of a state, one JSON object per line |
//! | `/healthz` | status 200 while the process runs |
//! | `/readyz` | status 200 while the node listens, and 503 otherwise |
//! | `/metrics` | counters in the OpenMetrics text format (feature `metrics`) |
//!
//! The node's parts add further paths, such as `/slots`. The endpoint answers any other path with 404 and an empty
//! body.
//!
//! The endpoint has no password, so bind it to loopback. It accepts a request only if the `Host` header contains
//! `localhost` or an IP address, so that no web page can reach the endpoint through a DNS name. For the same reason a
//! POST must have the content type `application/json`.

mod queries;
mod states;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header::HOST},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub use states::event as describe_state;

use crate::Node;

#[derive(Clone)]
struct Admin {
    node: Node,
    started: Instant,
}

/// Binds `address` and serves the endpoint until `stop` completes or the runtime ends. Returns the bound address. A
/// port of 0 stands for a free port.
///
/// # Errors
///
/// The operating system refuses to bind the address.
pub async fn serve(
    node: Node,
    address: SocketAddr,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let app = app(node);
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop);
        if let Err(error) = served.await {
            tracing::error!(%error, "the admin endpoint stopped serving");
        }
    });
    Ok(bound)
}

/// The paths of the node and of its parts.
fn app(node: Node) -> Router {
    let router = Router::new()
        .route("/status", get(status))
        .route("/peers", get(states::peers))
        .route("/why", get(states::why))
        .route("/events", get(states::events))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready));
    #[cfg(feature = "metrics")]
    let router = router.route("/metrics", get(metrics));
    let queries = node.queries().into_iter();
    let stopping = node.stopping();
    let router = queries.fold(router, |router, query| {
        queries::mount(router, query, &stopping)
    });
    let started = Instant::now();
    router
        .layer(middleware::from_fn(only_local_names))
        .with_state(Admin { node, started })
}

async fn only_local_names(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    if host.is_none_or(is_local_name) {
        next.run(request).await
    } else {
        let problem = "the Host header of a request must contain localhost or an IP address";
        (StatusCode::FORBIDDEN, problem).into_response()
    }
}

fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok()
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
    if admin.node.listen_addresses().is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "the node does not listen").into_response()
    } else {
        "ready".into_response()
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
mod tests {
    use super::is_local_name;

    #[test]
    fn only_addresses_and_localhost_are_local_names() {
        for host in [
            "127.0.0.1:80",
            "127.0.0.1",
            "localhost:9",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_local_name(host), "{host}");
        }
        for host in ["evil.example:80", "localhost.evil.example", ""] {
            assert!(!is_local_name(host), "{host}");
        }
    }
}
