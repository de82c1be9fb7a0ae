//! Names whose owner aims a dial at as many addresses as an answer can hold.

use std::{net::Ipv4Addr, time::Duration};

use hickory_resolver::proto::rr::{RData, rdata::A};
use tokio::time::Instant;
use transport_tcp::{
    ConnectBudget, DialContext, DialError, Dialer, Direct, DirectConfig, Retry, RetryConfig, Target,
};

use super::dial::ports;
use crate::support::{
    PATIENCE,
    names::{Names, Zone, dnsaddr},
};

/// Addresses of one name: about as many as an answer can hold.
const ADDRESSES: u32 = 1500;

/// Addresses of this machine, on which nobody listens.
fn loopback(name: u32) -> Vec<RData> {
    let first = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + name * ADDRESSES;
    let ips = (first..first + ADDRESSES).map(Ipv4Addr::from);
    ips.map(|ip| RData::A(A(ip))).collect()
}

/// A `/dnsaddr` of 100 names with 1,500 addresses each.
fn fan_out(port: u16) -> Zone {
    let mut zone = Zone::new();
    let mut records = Vec::new();
    for n in 0..100 {
        let name = format!("n{n}.net.example");
        records.push(dnsaddr(&format!("/dns4/{name}/tcp/{port}")));
        zone.insert(name.leak(), loopback(n));
    }
    zone.insert("_dnsaddr.net.example", records);
    zone
}

/// The addresses that were tried, and how long that took.
async fn tried(dialer: &impl Dialer, address: &str) -> (DialError, Duration) {
    let target: Target = address.parse().unwrap();
    let begun = Instant::now();
    let context = DialContext::new(begun + PATIENCE);
    let error = dialer.dial(&target, &context).await.unwrap_err();
    (error, begun.elapsed())
}

fn connects(error: &DialError) -> usize {
    match error {
        DialError::Failed { tried, .. } => tried.len(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn of_a_name_with_1500_addresses_16_are_tried() {
    let (_listener, _, closed) = ports().await;
    let names = Names::serve([("many.example", loopback(0))].into()).await;
    let (error, took) = tried(&names.direct(), &format!("/dns4/many.example/tcp/{closed}")).await;
    println!("{} connects in {took:?}: {error}", connects(&error));
    assert_eq!(connects(&error), 16);
    assert!(error.to_string().ends_with("; and 8 more"), "{error}");
}

#[tokio::test]
async fn a_dnsaddr_of_100_names_with_1500_addresses_each_leads_to_100_connects_at_a_pace() {
    let (_listener, _, closed) = ports().await;
    let names = Names::serve(fan_out(closed)).await;
    let (error, took) = tried(&names.direct(), "/dnsaddr/net.example").await;
    let (questions, text) = (names.asked().len(), error.to_string());
    println!(
        "{} connects in {took:?}, {questions} questions, an error of {} bytes",
        connects(&error),
        text.len()
    );
    assert_eq!(connects(&error), 100);
    // 8 at once, and then one per 20 ms.
    assert!(took >= Duration::from_millis(92 * 20), "{took:?}");
    assert!(questions <= 101, "{questions}");
    assert!(
        text.len() < 2048 && text.ends_with("; and 92 more"),
        "{text}"
    );
}

#[tokio::test]
async fn the_retries_of_a_dial_share_its_connects() {
    let (_listener, _, closed) = ports().await;
    let names = Names::serve([("many.example", loopback(0))].into()).await;
    let config = RetryConfig::default();
    let config = config
        .with_attempts(20)
        .with_pauses(Duration::ZERO, Duration::ZERO);
    let retrying = Retry::new(names.direct(), config);
    let (error, _) = tried(&retrying, &format!("/dns4/many.example/tcp/{closed}")).await;
    // Six times 16 addresses, then the last 4.
    let DialError::GaveUp {
        attempts: 7,
        source,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(connects(source), 4);
}

#[tokio::test]
async fn a_dial_without_connects_left_tries_nothing_and_says_so() {
    let (listener, port, _) = ports().await;
    let target: Target = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let mut context = DialContext::new(Instant::now() + PATIENCE);
    context.connects = ConnectBudget::new(|_| None);
    let dialer = Direct::new(DirectConfig::default());
    let refused = dialer.dial(&target, &context).await;
    assert!(
        matches!(refused, Err(DialError::NoConnects(_))),
        "{refused:?}"
    );
    drop(dialer);
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept());
    assert!(accepted.await.is_err(), "there was a connect");
}
