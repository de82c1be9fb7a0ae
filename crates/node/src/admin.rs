//! A local HTTP endpoint that shows the node's health and state.
//!
//! | path | answer |
//! | --- | --- |
//! | `/status` | the node's id, addresses and number of connections, as JSON |
//! | `/peers` | every connection with its peer's state, as a JSON array |
//! | `/why?peer=ID` | the latest changes of that peer's state, as JSON |
//! | `/events` | all peers' states, then every change of them, one JSON object per line |
//! | `/healthz` | 200 while the process serves |
//! | `/readyz` | 200 while the node listens, otherwise 503 |
//! | `/metrics` | counters in the OpenMetrics text format (feature `metrics`) |
//!
//! The node's parts add paths of their own, such as `/slots`. The endpoint answers any other path with 404 and no text.
//!
//! The endpoint asks for no password: bind it to loopback. It refuses requests for a host name other than `localhost` or an
//! IP address, so that no web page can reach it through a name of its own. For the same reason a POST must have the
//! content type `application/json`.

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

/// Binds `address` and serves the endpoint until `stop` completes or the runtime ends. Returns the address that it is bound
/// to: a port of 0 takes a free one.
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

/// The paths of the node itself and those of its parts.
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
        let problem = "this endpoint serves only localhost and IP addresses as host names";
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
