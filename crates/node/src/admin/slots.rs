//! The slots that this node grants as a relay, and its terms.

use std::time::Instant;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::Admin;
use crate::RelayTerms;

const NO_RELAY: (StatusCode, &str) = (StatusCode::NOT_FOUND, "this node is no relay");

pub(super) async fn slots(State(admin): State<Admin>) -> Response {
    let (Some(slots), Some(terms)) = (admin.node.slots(), admin.node.relay_terms()) else {
        return NO_RELAY.into_response();
    };
    let now = Instant::now();
    let rows = slots.into_iter().map(|slot| {
        json!({
            "peer_id": slot.peer.to_string(),
            "address": slot.address.map(|address| address.to_string()),
            "state": slot.state,
            "expires_s": slot.expires.saturating_duration_since(now).as_secs(),
            "circuits": slot.circuits,
            "bytes": slot.bytes,
        })
    });
    let rows: Vec<Value> = rows.collect();
    Json(json!({"slots": rows, "terms": terms})).into_response()
}

pub(super) async fn set(State(admin): State<Admin>, Json(terms): Json<RelayTerms>) -> Response {
    match admin.node.set_relay_terms(&terms) {
        None => NO_RELAY.into_response(),
        Some(Ok(terms)) => Json(terms).into_response(),
        Some(Err(error)) => (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).into_response(),
    }
}
