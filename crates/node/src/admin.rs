//! A local HTTP endpoint that tells how a node is doing.
//!
//! | path | answers |
//! | --- | --- |
//! | `/status` | the node's id, addresses and number of connections, as JSON |
//! | `/peers` | every connection with its peer's state, as a JSON array |
//! | `/why?peer=ID` | how that peer's state came about, as JSON |
//! | `/events` | all peers' states, then every change of them as it comes, a JSON object a line |
//! | `/slots` | the slots that this node grants as a relay, and its terms, as JSON; a POST of some terms changes those |
//! | `/healthz` | 200 as long as the process serves |
//! | `/readyz` | 200 once the node listens, else 503 |
//! | `/metrics` | counters in the OpenMetrics text format (feature `metrics`) |
//!
//! It has no password: bind it to loopback. Requests that name another host than an IP address or `localhost` are
//! refused, so that no web page can reach it through a name of its own.

#[cfg(feature = "relay")]
mod slots;
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

use crate::{Connection, Node};

#[derive(Clone)]
struct Admin {
    node: Node,
    started: Instant,
}

/// Binds `address` and serves until the runtime ends or `stop` does. Returns where it is bound.
///
/// # Errors
///
/// What the operating system says to binding.
pub async fn serve(
    node: Node,
    address: SocketAddr,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let admin = Admin {
        node,
        started: Instant::now(),
    };
    let router = Router::new()
        .route("/status", get(status))
        .route("/peers", get(states::peers))
        .route("/why", get(states::why))
        .route("/events", get(states::events))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready));
    #[cfg(feature = "relay")]
    let router = router.route("/slots", get(slots::slots).post(slots::set));
    #[cfg(feature = "metrics")]
    let router = router.route("/metrics", get(metrics));
    let app = router
        .layer(middleware::from_fn(only_local_names))
        .with_state(admin);
    tokio::spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stop);
        if let Err(error) = served.await {
            tracing::error!(%error, "the admin endpoint broke");
        }
    });
    Ok(bound)
}

async fn only_local_names(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    if host.is_none_or(is_local_name) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "this host name is not served here").into_response()
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

/// The kernel's own measure, of the way to the proxy where there is one.
#[cfg(feature = "tcp")]
fn tcp_rtt(connection: &Connection) -> Option<std::time::Duration> {
    Some(connection.link()?.info().ok()?.rtt)
}

#[cfg(not(feature = "tcp"))]
fn tcp_rtt(_: &Connection) -> Option<std::time::Duration> {
    None
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.node.listen_addresses().is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "not listening yet").into_response()
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
