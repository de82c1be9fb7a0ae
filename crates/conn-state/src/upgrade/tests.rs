//! What the suites share: hosts whose addresses are texts.

use std::time::{Duration, Instant};

use super::*;

mod addresses;
mod hostile;
mod properties;
mod simulation;
mod wire;
mod world;

/// What the hosts of these tests make of an address.
fn read(bytes: &[u8]) -> Candidate<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.starts_with("relayed") => Candidate::Relayed,
        Ok(text) if text.starts_with("private") => Candidate::Unwanted,
        Ok(text) => Candidate::Direct(text.to_owned()),
        Err(_) => Candidate::Undecodable,
    }
}

fn named(addresses: &[&str]) -> Vec<Vec<u8>> {
    addresses
        .iter()
        .map(|address| address.as_bytes().to_vec())
        .collect()
}

fn connect(addresses: &[&str]) -> Vec<u8> {
    Message::connect(named(addresses)).encode().unwrap()
}

fn sync() -> Vec<u8> {
    Message::sync().encode().unwrap()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn initiator(now: Instant) -> Initiator<String> {
    Initiator::new(now, UpgradeConfig::default(), named(&["b"]), vec![])
}

fn responder(now: Instant) -> Responder<String> {
    Responder::new(now, UpgradeConfig::default(), named(&["a"]))
}

/// An initiator whose CONNECT is sent, with nothing left to poll.
fn connecting(now: Instant) -> Initiator<String> {
    let mut initiator = initiator(now);
    initiator.handle_stream_opened(now);
    let events = drain(|| initiator.poll_event());
    assert_eq!(events, [Event::OpenStream, Event::Send(connect(&["b"]))]);
    initiator
}

fn received(responder: &mut Responder<String>, now: Instant, bytes: &[u8]) -> Vec<Event<String>> {
    responder.handle_received(now, bytes, read);
    drain(|| responder.poll_event())
}

fn drain(mut poll: impl FnMut() -> Option<Event<String>>) -> Vec<Event<String>> {
    std::iter::from_fn(&mut poll).collect()
}

/// The cause, if the events are one failure and nothing else.
fn failure(events: &[Event<String>]) -> UpgradeError {
    match events {
        [Event::Failed { cause, .. }] => cause.clone(),
        other => panic!("not one failure: {other:?}"),
    }
}
