//! The lines of `bowline up` about events. Unknown peers can cause most of them, so each line has a bounded length. Only the line
//! about this node's own addresses contains a list, whose length is bounded.

use std::time::{Duration, Instant};

use node::{
    Closing, Event, Multiaddr, PeerId, admin,
    conn_state::{self, Budget, Detail, Rate},
    error_chain,
    multiaddr::Protocol,
};
use serde_json::{Value, json};

use crate::output::{self, LiveOutput};

/// The number of lines of one kind that are printed at once, and the pause before each further line. A short connection with a ping
/// and identify causes seven lines of together about 1,200 bytes if the node is isolated before and after, and two lines less
/// otherwise. Strangers can therefore cause about 18 KB per second. Fewer lines would hide connections from the programs that read
/// these lines.
const PER_KIND: (u32, Duration) = (512, Duration::from_millis(50));

/// The number of lines about the identify messages of one connection that are printed at once, and the pause before each further
/// line.
const IDENTIFIED: (u32, Duration) = (4, Duration::from_secs(60));

/// The number of connections whose lines are counted at the same time. The lines about further connections are left out.
const MAX_CONNECTIONS: usize = 4_096;

/// The number of kinds that are counted at the same time. There are fewer kinds of lines.
const MAX_KINDS: usize = 64;

/// Prints events, within a budget for each kind of line.
pub(crate) struct Lines<'a> {
    output: &'a LiveOutput,
    quota: Quota,
    missed: u64,
    /// The node's addresses in the latest line about them.
    addresses: Vec<Multiaddr>,
}

impl<'a> Lines<'a> {
    /// `addresses` are the addresses in the ready line.
    pub(crate) fn new(output: &'a LiveOutput, addresses: Vec<Multiaddr>) -> Self {
        Self {
            output,
            quota: Quota::new(),
            missed: 0,
            addresses,
        }
    }

    /// Prints the line of an event, if it has one.
    pub(crate) fn event(&mut self, event: &Event) {
        if let Some((object, plain)) = describe(event) {
            self.print(&object, || plain);
        }
    }

    /// Prints the change of a peer's state.
    pub(crate) fn state(&mut self, event: &conn_state::Event<PeerId>) {
        let plain = || format!("{} is {}: {}", event.peer, event.to, event.cause);
        self.print(&admin::describe_state(event), plain);
    }

    /// Prints the node's addresses and their changes, unless they are the same as in the latest line. The caller passes the
    /// current addresses instead of those in an event, so that a missed event does no harm.
    pub(crate) fn addresses(&mut self, now: Vec<Multiaddr>) {
        if now == self.addresses {
            return;
        }
        let before = std::mem::replace(&mut self.addresses, now.clone());
        let beyond = |some: &[Multiaddr], others: &[Multiaddr]| -> Vec<String> {
            let new = some.iter().filter(|address| !others.contains(address));
            new.map(ToString::to_string).collect()
        };
        let (added, removed) = (beyond(&now, &before), beyond(&before, &now));
        let object = json!({
            "event": "addresses",
            "addresses": now.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "added": added,
            "removed": removed,
        });
        let signed = |sign: &str, addresses: &[String]| -> String {
            let signed = addresses.iter().map(|address| format!(" {sign}{address}"));
            signed.collect()
        };
        let changes = signed("+", &added) + &signed("-", &removed);
        let count = now.len();
        self.print(&object, || match changes.is_empty() {
            true => format!("this node's {count} addresses have a new order"),
            false => format!("this node has {count} addresses:{changes}"),
        });
    }

    /// Some events were missed.
    pub(crate) fn missed(&mut self, events: u64) {
        self.missed += events;
        self.print_missed();
    }

    fn print(&mut self, object: &Value, plain: impl FnOnce() -> String) {
        if !self.quota.admits(Instant::now(), object) {
            self.missed += 1;
            return;
        }
        self.print_missed();
        self.output.line(object, plain);
    }

    fn print_missed(&mut self) {
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            let (object, plain) = output::missed(missed);
            self.output.line(&object, || plain);
        }
    }
}

/// The lines that may still be printed.
struct Quota {
    kinds: Budget<String>,
    identified: Budget<String>,
}

impl Quota {
    fn new() -> Self {
        let rate = |(burst, interval)| Rate::new(burst, interval);
        let all = Rate::unlimited();
        Self {
            kinds: Budget::new(rate(PER_KIND), all, MAX_KINDS),
            identified: Budget::new(rate(IDENTIFIED), all, MAX_CONNECTIONS),
        }
    }

    fn admits(&mut self, now: Instant, line: &Value) -> bool {
        let text = |key| line[key].as_str().unwrap_or_default().to_owned();
        let kind = text("event");
        if kind == "identified" && self.identified.take(now, text("connection")).is_err() {
            return false;
        }
        self.kinds.take(now, kind).is_ok()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_512_lines_at_once_and_twenty_per_second() {
        let (begun, mut quota) = (Instant::now(), Quota::new());
        let mut admitted = |kind: &str, seconds| {
            let now = begun + Duration::from_secs(seconds);
            let line = json!({"event": kind, "peer_id": "a"});
            (0..1_000).filter(|_| quota.admits(now, &line)).count()
        };
        assert_eq!(admitted("connected", 0), 512);
        assert_eq!(admitted("disconnected", 0), 512);
        assert_eq!(admitted("connected", 1), 20);
    }

    #[test]
    fn a_peer_that_pushes_a_new_name_each_second_has_four_lines_in_a_minute() {
        let (begun, mut quota) = (Instant::now(), Quota::new());
        let pushes = (0..60_u64).filter(|second| {
            let line = json!({"event": "identified", "connection": "a", "agent": second});
            quota.admits(begun + Duration::from_secs(*second), &line)
        });
        assert_eq!(pushes.count(), 4);
        let late = begun + Duration::from_secs(60);
        let line = |connection: &str| json!({"event": "identified", "connection": connection});
        assert!(quota.admits(late, &line("a")));
        assert!(!quota.admits(late, &line("a")));
        assert!(quota.admits(late, &line("b")));
    }
}
