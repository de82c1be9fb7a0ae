//! `bowline slots`, and what `up` says of its own reservations.

use node::relay_slots::{ClientEvent, LostCause};
use serde_json::{Value, json};

use crate::{ask, cli::Slots, failure::Failure, output::Output};

pub(crate) async fn slots(args: Slots, output: Output) -> Result<(), Failure> {
    if !args.set.is_empty() {
        let mut terms = serde_json::Map::new();
        for term in &args.set {
            let (name, value) = parse(term)?;
            terms.insert(name, value);
        }
        let terms = ask::change(&args.asking, "/slots", &terms.into()).await?;
        return output.line(&terms, || listed(&terms));
    }
    let answer = ask::answer(&args.asking, "/slots").await?;
    output.heading(&row(&COLUMNS))?;
    for slot in answer["slots"].as_array().into_iter().flatten() {
        let text = |field: &str| slot[field].as_str().unwrap_or("-").to_owned();
        output.line(slot, || {
            let numbers = ["expires_s", "circuits", "bytes"].map(|field| slot[field].to_string());
            let [expires, circuits, bytes] = numbers;
            row(&[
                &text("peer_id"),
                &text("address"),
                &text("state"),
                &expires,
                &circuits,
                &bytes,
            ])
        })?;
    }
    Ok(())
}

const COLUMNS: [&str; 6] = [
    "peer",
    "address",
    "state",
    "expires in s",
    "circuits",
    "bytes",
];

fn row([peer, address, state, expires, circuits, bytes]: &[&str; 6]) -> String {
    format!("{peer:<52}  {address:<15}  {state:<7}  {expires:>12}  {circuits:>8}  {bytes:>12}")
}

fn listed(terms: &Value) -> String {
    let terms = terms.as_object().into_iter().flatten();
    let lines: Vec<String> = terms
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    lines.join("\n")
}

fn parse(term: &str) -> Result<(String, Value), Failure> {
    let parsed = term.split_once('=').and_then(|(name, value)| {
        let value = serde_json::from_str(value).ok()?;
        Some((name.to_owned(), value))
    });
    parsed.ok_or_else(|| Failure::usage(format!("'{term}' is not TERM=VALUE, such as slots=64")))
}

/// What is worth a line: not that a relay is asked.
pub(crate) fn describe(event: &ClientEvent) -> Option<(Value, String)> {
    Some(match event {
        ClientEvent::Granted { relay, .. } => (
            json!({"event": "reservation_granted", "relay": relay.to_string()}),
            format!("{relay} relays for this node"),
        ),
        ClientEvent::Renewed { relay, .. } => (
            json!({"event": "reservation_renewed", "relay": relay.to_string()}),
            format!("{relay} goes on relaying for this node"),
        ),
        ClientEvent::Refused {
            relay,
            status,
            reason,
            retry_in,
        } => (
            json!({
                "event": "reservation_refused",
                "relay": relay.to_string(),
                "status": status.code(),
                "reason": reason,
                "retry_s": retry_in.as_secs_f64(),
            }),
            format!(
                "{relay} does not relay for this node: {reason} (status {})",
                status.code()
            ),
        ),
        ClientEvent::Failed {
            relay,
            reason,
            retry_in,
        } => (
            json!({
                "event": "reservation_failed",
                "relay": relay.to_string(),
                "reason": reason,
                "retry_s": retry_in.as_secs_f64(),
            }),
            format!("{relay} was not asked to relay: {reason}"),
        ),
        ClientEvent::Lost { relay, cause } => {
            let why = why(*cause);
            (
                json!({"event": "reservation_lost", "relay": relay.to_string(), "reason": why}),
                format!("{relay} does not relay for this node any more: {why}"),
            )
        }
        ClientEvent::Replaced { old, new } => (
            json!({
                "event": "reservation_replaced",
                "relay": new.to_string(),
                "old": old.to_string(),
            }),
            format!("{new} relays for this node in the place of {old}"),
        ),
        _ => return None,
    })
}

fn why(cause: LostCause) -> String {
    match cause {
        LostCause::Disconnected => "the connection to it is closed".to_owned(),
        LostCause::Refused(status) => format!("it refused, status {}", status.code()),
        LostCause::Expired => "it could not be renewed in time".to_owned(),
        _ => "it is not wanted any more".to_owned(),
    }
}
