//! The public events about this node's slots at relays.

use std::{fmt, time::Duration};

use libp2p_identity::PeerId;
use relay_slots::{ClientEvent, LostCause};
use serde_json::{Value, json};

use crate::{error::error_chain, event::PartEvent};

/// An event about this node's slots at relays.
///
/// The addresses of [`ClientEvent::Granted`] end in `/p2p-circuit`. [`crate::Event::Listening`] gives the same addresses with
/// this node's id, so that a peer can dial them.
///
/// ```
/// use node::{Event, ReservationEvent, relay_slots::ClientEvent};
///
/// fn is_granted(event: &Event) -> bool {
///     let Event::Part(event) = event else { return false };
///     let reservation = event.downcast_ref::<ReservationEvent>();
///     matches!(reservation, Some(ReservationEvent(ClientEvent::Granted { .. })))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ReservationEvent(pub ClientEvent);

impl PartEvent for ReservationEvent {
    fn name(&self) -> &'static str {
        match self.0 {
            ClientEvent::Ask { .. } => "reservation_asked",
            ClientEvent::Granted { .. } => "reservation_granted",
            ClientEvent::Renewed { .. } => "reservation_renewed",
            ClientEvent::Refused { .. } => "reservation_refused",
            ClientEvent::Failed { .. } => "reservation_failed",
            ClientEvent::Lost { .. } => "reservation_lost",
            ClientEvent::Replaced { .. } => "reservation_replaced",
            ClientEvent::Probe { .. } => "reservation_probe",
            ClientEvent::Proved { .. } => "reservation_proved",
            ClientEvent::Wanted { .. } => "reservation_wanted",
            ClientEvent::Examine { .. } => "reservation_examine",
            ClientEvent::Released { .. } => "reservation_released",
            _ => "reservation",
        }
    }

    fn to_json(&self) -> Value {
        let with_retry = |relay: &PeerId, reason: &str, retry_in: &Duration| {
            json!({
                "relay": relay.to_string(),
                "reason": reason,
                "retry_s": retry_in.as_secs_f64(),
            })
        };
        match &self.0 {
            ClientEvent::Ask { relay, .. }
            | ClientEvent::Granted { relay, .. }
            | ClientEvent::Renewed { relay, .. }
            | ClientEvent::Probe { relay, .. }
            | ClientEvent::Proved { relay, .. }
            | ClientEvent::Examine { relay, .. }
            | ClientEvent::Released { relay } => json!({"relay": relay.to_string()}),
            ClientEvent::Refused {
                relay,
                status,
                retry_in,
            } => {
                let mut fields = with_retry(relay, status.meaning(), retry_in);
                fields["status"] = status.code().into();
                fields
            }
            ClientEvent::Failed {
                relay,
                error,
                retry_in,
            } => with_retry(relay, &error_chain(error), retry_in),
            ClientEvent::Wanted { count } => json!({"count": count}),
            ClientEvent::Lost { relay, cause } => {
                json!({"relay": relay.to_string(), "reason": cause.to_string()})
            }
            ClientEvent::Replaced { old, new } => {
                json!({"relay": new.to_string(), "old": old.to_string()})
            }
            _ => json!({}),
        }
    }

    /// A request needs no line, because the answer gets one. A proved address gets its own line as a new address. The search for
    /// relays and a loss at shutdown need no line either.
    fn is_notable(&self) -> bool {
        let at_shutdown = matches!(
            self.0,
            ClientEvent::Lost {
                cause: LostCause::Closing,
                ..
            }
        );
        let is_quiet = matches!(
            self.0,
            ClientEvent::Ask { .. }
                | ClientEvent::Probe { .. }
                | ClientEvent::Proved { .. }
                | ClientEvent::Wanted { .. }
                | ClientEvent::Examine { .. }
                | ClientEvent::Released { .. }
        );
        !at_shutdown && !is_quiet
    }
}

impl fmt::Display for ReservationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ClientEvent::Ask { relay, .. } => write!(f, "asking {relay} for a slot"),
            ClientEvent::Granted { relay, .. } => write!(f, "{relay} relays for this node"),
            ClientEvent::Renewed { relay, .. } => {
                write!(f, "{relay} continues to relay for this node")
            }
            ClientEvent::Refused { relay, status, .. } => {
                let (reason, code) = (status.meaning(), status.code());
                write!(
                    f,
                    "{relay} does not relay for this node: {reason} (status {code})"
                )
            }
            ClientEvent::Failed { relay, error, .. } => {
                let error = error_chain(error);
                write!(f, "could not ask {relay} for a slot: {error}")
            }
            ClientEvent::Probe { relay, address } => {
                write!(f, "dialing {address} to see whether {relay} is there")
            }
            ClientEvent::Proved { relay, .. } => {
                write!(f, "{relay} was found at another address")
            }
            ClientEvent::Wanted { count } => write!(f, "looking for {count} possible relays"),
            ClientEvent::Examine { relay, .. } => {
                write!(f, "finding out whether {relay} is a relay")
            }
            ClientEvent::Released { relay } => {
                write!(f, "{relay} gives this node no slot and is not needed")
            }
            ClientEvent::Lost { relay, cause } => {
                write!(f, "{relay} no longer relays for this node: {cause}")
            }
            ClientEvent::Replaced { old, new } => {
                write!(f, "{new} relays for this node in place of {old}")
            }
            event => write!(f, "reservation: {event:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_slots::{AskError, Status};

    use super::*;

    fn relay() -> PeerId {
        "12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq"
            .parse()
            .unwrap()
    }

    #[test]
    fn an_event_gives_the_fields_that_scripts_read() {
        let (relay, retry_in) = (relay(), Duration::from_millis(1500));
        let text = relay.to_string();
        let cases = [
            (
                ClientEvent::Granted {
                    relay,
                    addresses: vec![],
                    limit: None,
                },
                "reservation_granted",
                json!({"relay": text}),
            ),
            (
                ClientEvent::Renewed {
                    relay,
                    addresses: vec![],
                    limit: None,
                },
                "reservation_renewed",
                json!({"relay": text}),
            ),
            (
                ClientEvent::Refused {
                    relay,
                    status: Status::ResourceLimitExceeded,
                    retry_in,
                },
                "reservation_refused",
                json!({"relay": text, "status": 201, "reason": "the relay has no room", "retry_s": 1.5}),
            ),
            (
                ClientEvent::Failed {
                    relay,
                    error: AskError::Unexpected,
                    retry_in,
                },
                "reservation_failed",
                json!({"relay": text, "reason": AskError::Unexpected.to_string(), "retry_s": 1.5}),
            ),
            (
                ClientEvent::Lost {
                    relay,
                    cause: LostCause::Expired,
                },
                "reservation_lost",
                json!({"relay": text, "reason": LostCause::Expired.to_string()}),
            ),
            (
                ClientEvent::Replaced {
                    old: relay,
                    new: relay,
                },
                "reservation_replaced",
                json!({"relay": text, "old": text}),
            ),
        ];
        for (event, name, fields) in cases {
            let event = ReservationEvent(event);
            assert_eq!((event.name(), event.to_json()), (name, fields));
            assert!(event.is_notable(), "{event}");
            assert!(event.to_string().contains(&text), "{event}");
        }
    }

    #[test]
    fn asking_searching_and_shutting_down_are_not_worth_a_line() {
        let relay = relay();
        for event in [
            ClientEvent::Ask {
                relay,
                addresses: vec![],
            },
            ClientEvent::Probe {
                relay,
                address: "/ip4/192.0.2.1/tcp/1".parse().unwrap(),
            },
            ClientEvent::Proved {
                relay,
                addresses: vec![],
            },
            ClientEvent::Wanted { count: 16 },
            ClientEvent::Examine {
                relay,
                addresses: vec![],
            },
            ClientEvent::Released { relay },
            ClientEvent::Lost {
                relay,
                cause: LostCause::Closing,
            },
        ] {
            assert!(!ReservationEvent(event).is_notable());
        }
    }
}
