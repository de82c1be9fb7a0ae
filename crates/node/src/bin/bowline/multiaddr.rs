//! Addresses and peer ids that people write.

use std::net::{IpAddr, SocketAddr};

use node::{Multiaddr, PeerId, parse_multiaddr, parse_peer_id};

/// An address of a peer for an example.
const EXAMPLE: &str = "/ip4/192.0.2.1/tcp/4077";

/// Parses an address. The error names the text.
pub(crate) fn parse(text: &str) -> Result<Multiaddr, String> {
    match parse_multiaddr(text) {
        Ok(address) if !address.is_empty() => Ok(address),
        _ => Err(format!("'{text}' is not a multiaddr: {}", problem(text))),
    }
}

/// Parses a peer id in any of its spellings. The error names the text.
pub(crate) fn peer_id(text: &str) -> Result<PeerId, String> {
    let parsed = parse_peer_id(text.strip_prefix("/p2p/").unwrap_or(text));
    parsed.ok_or_else(|| {
        let whole = parse_multiaddr(text).ok();
        let inner = whole.and_then(|address| match address.iter().last() {
            Some(node::multiaddr::Protocol::P2p(peer)) => Some(peer),
            _ => None,
        });
        match inner {
            Some(peer) => format!("'{text}' is an address, not a peer id: write {peer}"),
            None => format!(
                "'{text}' is not a peer id: a peer id usually begins with 12D3, 16Uiu2, Qm, bafz or k, and has 46 to 65 characters"
            ),
        }
    })
}

/// What is wrong with a text that is not a multiaddr, and what to write instead.
fn problem(text: &str) -> String {
    if matches!(text, "" | "/") {
        return format!("it is empty; an example is {EXAMPLE}");
    }
    if let Some(peer) = parse_peer_id(text) {
        return format!(
            "it is a peer id without an address; write ADDRESS/p2p/{peer}, such as {EXAMPLE}/p2p/{peer}"
        );
    }
    if let Some(host) = host(text) {
        return format!("write {host}");
    }
    if text.contains("://") {
        return format!("a URL is not an address; an example is {EXAMPLE}");
    }
    if !text.starts_with('/') {
        return format!("a multiaddr begins with '/'; an example is {EXAMPLE}");
    }
    component(text)
}

/// The multiaddr for `IP:PORT`, `NAME:PORT` or an IP address.
fn host(text: &str) -> Option<String> {
    let (host, port) = match text.parse() {
        Ok(SocketAddr::V4(at)) => (format!("/ip4/{}", at.ip()), at.port()),
        Ok(SocketAddr::V6(at)) => (format!("/ip6/{}", at.ip()), at.port()),
        Err(_) => {
            if let Ok(ip) = text.parse::<IpAddr>() {
                let version = if ip.is_ipv4() { 4 } else { 6 };
                return Some(format!(
                    "/ip{version}/{ip}/tcp/PORT or /ip{version}/{ip}/udp/PORT/quic-v1"
                ));
            }
            let (name, port) = text.split_once(':')?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
            let named = !name.is_empty() && name.chars().all(is_name);
            (format!("/dns/{name}"), port.parse().ok().filter(|_| named)?)
        }
    };
    Some(format!("{host}/tcp/{port} or {host}/udp/{port}/quic-v1"))
}

/// The first component that cannot be read.
fn component(text: &str) -> String {
    let parts: Vec<&str> = text.split('/').skip(1).collect();
    let mut rest = &parts[..];
    while let [name, after @ ..] = rest {
        let alone = format!("/{name}");
        if parse_multiaddr(&alone).is_ok() {
            rest = after;
            continue;
        }
        let Some(value) = after.first() else {
            return match is_known(name) {
                true => format!("a value is missing after /{name}"),
                false => unknown(name),
            };
        };
        if parse_multiaddr(&format!("/{name}/{value}")).is_err() {
            return match is_known(name) {
                true => format!("'{value}' is not {}", value_of(name)),
                false => unknown(name),
            };
        }
        rest = &after[1..];
    }
    "it cannot be read".to_owned()
}

fn unknown(name: &str) -> String {
    match name {
        "" => "it has an empty component; write each '/' once, and none at the end".to_owned(),
        _ => format!("'/{name}' is not a component of a multiaddr; an example is {EXAMPLE}"),
    }
}

/// Whether a component of this name has a value that may be wrong.
fn is_known(name: &str) -> bool {
    const VALUES: [&str; 8] = [
        "1",
        "192.0.2.1",
        "::1",
        "a.example",
        EXAMPLE_ID,
        "zQmaa",
        "x",
        "eth0",
    ];
    VALUES
        .iter()
        .any(|value| parse_multiaddr(&format!("/{name}/{value}")).is_ok())
}

const EXAMPLE_ID: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

/// The kind of value that follows a component.
fn value_of(name: &str) -> &'static str {
    match name {
        "ip4" => "an IPv4 address",
        "ip6" => "an IPv6 address",
        "tcp" | "udp" | "sctp" | "dccp" => "a port from 0 to 65535",
        "p2p" | "ipfs" => "a peer id: a peer id usually begins with 12D3, 16Uiu2, Qm, bafz or k",
        _ => "a value for this component",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_not_a_multiaddr_is_answered_with_what_is_wrong_and_what_to_write() {
        let id = EXAMPLE_ID;
        for (text, expected) in [
            (
                "127.0.0.1:4077",
                "write /ip4/127.0.0.1/tcp/4077 or /ip4/127.0.0.1/udp/4077/quic-v1",
            ),
            (
                "[2001:db8::1]:80",
                "write /ip6/2001:db8::1/tcp/80 or /ip6/2001:db8::1/udp/80/quic-v1",
            ),
            (
                "relay.example.org:443",
                "write /dns/relay.example.org/tcp/443 or /dns/relay.example.org/udp/443/quic-v1",
            ),
            (
                "192.0.2.1",
                "write /ip4/192.0.2.1/tcp/PORT or /ip4/192.0.2.1/udp/PORT/quic-v1",
            ),
            (
                id,
                &format!(
                    "it is a peer id without an address; write ADDRESS/p2p/{id}, such as {EXAMPLE}/p2p/{id}"
                ),
            ),
            ("", "it is empty; an example is /ip4/192.0.2.1/tcp/4077"),
            ("/", "it is empty; an example is /ip4/192.0.2.1/tcp/4077"),
            (
                "nonsense",
                "a multiaddr begins with '/'; an example is /ip4/192.0.2.1/tcp/4077",
            ),
            (
                "https://a.example:443",
                "a URL is not an address; an example is /ip4/192.0.2.1/tcp/4077",
            ),
            ("/ip4/1.2.3/tcp/1", "'1.2.3' is not an IPv4 address"),
            ("/ip6/1.2.3.4/tcp/1", "'1.2.3.4' is not an IPv6 address"),
            (
                "/ip4/1.2.3.4/tcp/65536",
                "'65536' is not a port from 0 to 65535",
            ),
            ("/ip4/1.2.3.4/tcp", "a value is missing after /tcp"),
            (
                "/ip4/1.2.3.4/tcp/1/p2p/nobody",
                "'nobody' is not a peer id: a peer id usually begins with 12D3, 16Uiu2, Qm, bafz or k",
            ),
            (
                "/ip4/1.2.3.4/tcp/1/",
                "it has an empty component; write each '/' once, and none at the end",
            ),
            (
                "/ip/1.2.3.4/tcp/1",
                "'/ip' is not a component of a multiaddr; an example is /ip4/192.0.2.1/tcp/4077",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error, format!("'{text}' is not a multiaddr: {expected}"));
        }
    }

    #[test]
    fn a_peer_id_may_have_any_spelling_and_an_address_is_not_a_peer_id() {
        for text in [EXAMPLE_ID, &format!("/p2p/{EXAMPLE_ID}")] {
            assert_eq!(peer_id(text).unwrap().to_string(), EXAMPLE_ID);
        }
        let address = format!("{EXAMPLE}/p2p/{EXAMPLE_ID}");
        let error = peer_id(&address).unwrap_err();
        assert_eq!(
            error,
            format!("'{address}' is an address, not a peer id: write {EXAMPLE_ID}")
        );
        assert!(
            peer_id("nobody")
                .unwrap_err()
                .starts_with("'nobody' is not a peer id")
        );
    }
}
