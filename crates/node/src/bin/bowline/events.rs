//! The lines of `bowline up` about events. Strangers cause most of them, so each line has a bounded length and contains no list.

use node::{Closing, Event, conn_state::Detail, error_chain, multiaddr::Protocol};
use serde_json::{Value, json};

use crate::{failure::Failure, output::Output};

/// Prints the line of an event, if it has one.
///
/// # Errors
///
/// Standard output is closed.
pub(crate) fn print(event: &Event, output: Output) -> Result<(), Failure> {
    let Some((object, plain)) = describe(event) else {
        return Ok(());
    };
    output.line(&object, || plain)
}

fn describe(event: &Event) -> Option<(Value, String)> {
    Some(match event {
        Event::Connected {
            peer,
            connection,
            address,
            direction,
            via,
        } => {
            let object = json!({
                "event": "connected",
                "peer_id": peer.to_string(),
                "connection": connection.to_string(),
                "address": address.to_string(),
                "direction": direction.to_string(),
                "via": via,
            });
            let plain = format!("connected to {peer} at {address} ({direction}, {via})");
            (object, plain)
        }
        Event::Identified {
            peer,
            connection,
            info,
        } => {
            let object = json!({
                "event": "identified",
                "peer_id": peer.to_string(),
                "connection": connection.to_string(),
                "agent": info.agent.as_str(),
                "protocol_version": info.protocol_version.as_str(),
                "protocol_count": info.protocols.len(),
                "address_count": info.listen.len(),
                "signed": info.signed,
            });
            (object, format!("{peer} is {}", info.agent))
        }
        Event::Disconnected {
            peer,
            connection,
            reason,
            detail,
            remaining,
        } => {
            let reason = closing(reason, detail.as_deref());
            let object = json!({
                "event": "disconnected",
                "peer_id": peer.to_string(),
                "connection": connection.to_string(),
                "reason": reason,
                "remaining": remaining,
            });
            (object, format!("disconnected from {peer}: {reason}"))
        }
        // The ready line has the addresses of the node's own sockets, so print only addresses at relays.
        Event::Listening { address } if address.iter().any(|p| p == Protocol::P2pCircuit) => {
            let object = json!({"event": "listening", "address": address.to_string()});
            (object, format!("listening on {address}"))
        }
        Event::ListenerFailed { address, reason } => {
            let object = json!({
                "event": "listener_failed",
                "address": address.to_string(),
                "reason": &**reason,
            });
            (object, format!("stopped listening on {address}: {reason}"))
        }
        Event::InboundFailed {
            address,
            cause,
            count,
            subnet,
        } => {
            let reason = Detail::new(error_chain(cause));
            let subnet = subnet.map(|subnet| subnet.to_string());
            let object = json!({
                "event": "inbound_failed",
                "address": address.to_string(),
                "reason": reason.as_str(),
                "count": count,
                "subnet": subnet,
            });
            let plain = match (count, subnet) {
                (1, _) => format!("the inbound connection from {address} failed: {reason}"),
                (_, Some(subnet)) => format!(
                    "{count} inbound connections from {subnet} failed, the latest from {address}: {reason}"
                ),
                (_, None) => {
                    format!(
                        "{count} inbound connections failed, the latest from {address}: {reason}"
                    )
                }
            };
            (object, plain)
        }
        Event::Part(event) if event.is_notable() => {
            let mut object = event.to_json();
            object["event"] = event.name().into();
            (object, event.to_string())
        }
        _ => return None,
    })
}

fn closing(reason: &Closing, detail: Option<&str>) -> String {
    match detail {
        Some(detail) => format!("{reason}: {detail}"),
        None => reason.to_string(),
    }
}
