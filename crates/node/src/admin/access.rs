//! The checks before a request is answered: the `Host` header, and the token.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, Method, StatusCode,
        header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{host::HostName, token::Token};

/// The requirements of a listener for a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Access {
    /// `None`: no token is needed, because the mode of the socket limits the users that can connect.
    pub(super) token: Option<Arc<Token>>,
    /// Whether requests that only read need no token.
    pub(super) open_reads: bool,
    /// The names that the `Host` header may contain, apart from `localhost` and IP addresses.
    pub(super) hosts: Arc<[HostName]>,
}

/// Refuses a request with a foreign `Host` header, and a request without the token if it needs the token.
pub(super) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    if !access.names_this_machine(request.headers()) {
        let problem = "the Host header of a request must contain localhost, an IP address, or a name in [admin] hosts";
        return (StatusCode::FORBIDDEN, problem).into_response();
    }
    if let Err(problem) = access.permits(request.method(), request.headers()) {
        let scheme = [(WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, scheme, problem).into_response();
    }
    next.run(request).await
}

impl Access {
    /// Whether no header names another host. A client without a `Host` header is no browser.
    fn names_this_machine(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).into_iter();
        hosts.all(|host| host.to_str().is_ok_and(|host| is_known(host, &self.hosts)))
    }

    fn permits(&self, method: &Method, headers: &HeaderMap) -> Result<(), &'static str> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match bearer(headers) {
            _ if reads && self.open_reads => Ok(()),
            Some(given) if token.is(given) => Ok(()),
            Some(_) => {
                Err("the token of this request is wrong; the node makes a new one at each start")
            }
            None => Err(
                "this request needs the token in the file admin-token of the node's data directory",
            ),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// Whether the header names this machine, or one of `hosts`.
fn is_known(host: &str, hosts: &[HostName]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    if hosts.iter().any(|known| known.is(name)) {
        return true;
    }
    let bracketed = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match bracketed {
        Some(name) => name.parse::<Ipv6Addr>().is_ok(),
        None => name == "localhost" || name.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_local_names() {
        for host in [
            "127.0.0.1:80",
            "127.0.0.1",
            "localhost:9",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_known(host, &[]), "{host}");
        }
        for host in [
            "evil.example:80",
            "localhost.evil.example",
            "",
            "[[::1]]:80",
            "[::1",
            "[127.0.0.1]",
            "[localhost]",
        ] {
            assert!(!is_known(host, &[]), "{host}");
        }
    }

    #[test]
    fn a_listed_name_is_known_with_any_port_and_no_other_name_is() {
        let hosts = ["bowline".parse().unwrap(), "node.example".parse().unwrap()];
        for host in [
            "bowline",
            "bowline:9090",
            "Node.Example.:80",
            "localhost",
            "[::1]:80",
        ] {
            assert!(is_known(host, &hosts), "{host}");
        }
        for host in [
            "evil.example",
            "x.node.example",
            "node.example.evil",
            "example",
            "[bowline]",
            "bowline:x",
            "",
        ] {
            assert!(!is_known(host, &hosts), "{host}");
        }
    }

    #[test]
    fn every_host_header_must_be_local() {
        let access = Access::default();
        let mut headers = HeaderMap::new();
        assert!(access.names_this_machine(&headers));
        headers.append(HOST, "localhost".parse().unwrap());
        assert!(access.names_this_machine(&headers));
        headers.append(HOST, "evil.example".parse().unwrap());
        assert!(!access.names_this_machine(&headers));
        let mut headers = HeaderMap::new();
        let not_ascii = b"\xc3\xa9vil.example".as_slice();
        headers.append(HOST, not_ascii.try_into().unwrap());
        assert!(!access.names_this_machine(&headers));
    }

    #[test]
    fn a_change_needs_the_token_and_a_read_needs_it_unless_reads_are_open() {
        let token = Arc::new(Token::random());
        let given = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, text.parse().unwrap());
            headers
        };
        let right = given(&format!("Bearer {}", token.text()));
        let lower = given(&format!("bearer {}", token.text()));
        let wrong = [
            HeaderMap::new(),
            given("Bearer "),
            given("Bearer"),
            given(token.text()),
            given(&format!("Basic {}", token.text())),
            given(&format!("Bearer {}0", token.text())),
            given(&format!("Bearer {}", &token.text()[1..])),
            given(&format!("Bearer {}", Token::random().text())),
        ];
        for open_reads in [true, false] {
            let token = Some(Arc::clone(&token));
            let access = Access {
                token,
                open_reads,
                ..Access::default()
            };
            for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
                for right in [&right, &lower] {
                    assert!(access.permits(&method, right).is_ok());
                }
                let is_open = open_reads && [Method::GET, Method::HEAD].contains(&method);
                for wrong in &wrong {
                    assert_eq!(access.permits(&method, wrong).is_ok(), is_open, "{wrong:?}");
                }
            }
        }
        let access = Access::default();
        assert!(access.permits(&Method::POST, &HeaderMap::new()).is_ok());
    }
}
