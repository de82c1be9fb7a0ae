//! Addresses that people write.

use std::net::SocketAddr;

use node::Multiaddr;

/// Parses an address. The error names the text.
pub(crate) fn parse(text: &str) -> Result<Multiaddr, String> {
    let wrong = |error| format!("'{text}' is not a multiaddr ({error}): {}", instead(text));
    match text.parse::<Multiaddr>() {
        Ok(address) if address.is_empty() => Err(wrong("it is empty".to_owned())),
        Ok(address) => Ok(address),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// A suggestion to replace a text that is not a multiaddr.
fn instead(text: &str) -> String {
    let host = match text.parse() {
        Ok(SocketAddr::V4(at)) => Some((format!("/ip4/{}", at.ip()), at.port())),
        Ok(SocketAddr::V6(at)) => Some((format!("/ip6/{}", at.ip()), at.port())),
        Err(_) => text.split_once(':').and_then(|(name, port)| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
            let named = !name.is_empty() && name.chars().all(is_name);
            Some((format!("/dns/{name}"), port.parse().ok()?)).filter(|_| named)
        }),
    };
    match host {
        Some((host, port)) => format!("write {host}/tcp/{port} or {host}/udp/{port}/quic-v1"),
        None => "an example is /ip4/192.0.2.1/tcp/4077".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_address_or_a_host_and_port_is_answered_with_the_multiaddr_that_was_meant() {
        for (text, host, port) in [
            ("127.0.0.1:4077", "/ip4/127.0.0.1", 4077),
            ("[2001:db8::1]:80", "/ip6/2001:db8::1", 80),
            ("relay.example.org:443", "/dns/relay.example.org", 443),
        ] {
            let error = parse(text).unwrap_err();
            let meant = format!("write {host}/tcp/{port} or {host}/udp/{port}/quic-v1");
            assert!(
                error.starts_with(&format!("'{text}' is not a multiaddr")),
                "{error}"
            );
            assert!(error.ends_with(&meant), "{error}");
            assert!(parse(&format!("{host}/tcp/{port}")).is_ok());
        }
        for text in [
            "nonsense",
            "",
            ":80",
            "a b:80",
            "name:port",
            "https://a.example:443",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.ends_with("an example is /ip4/192.0.2.1/tcp/4077"),
                "{error}"
            );
        }
    }
}
