//! What an HTTP proxy is asked for, and what its answers mean.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use transport_tcp::{
    ByteStream, DialError, DialStage, Dialer, Fault, HttpConnect, ProxyError, Target,
};

use crate::support::proxy::{
    Http, Network, ahoy, at, cause, context, dial, echo, head, name, service, silent, until,
};

const PROXY: &str = "192.0.2.1:3128";

/// A proxy in memory behind which everybody echoes, and the dialer to it.
fn proxy(change: impl FnOnce(&mut Http)) -> (Http, HttpConnect) {
    let anybody = |target: Target, _| async move {
        let far = Network::default();
        far.add(&target.authority(), echo());
        far.dial(&target, &context()).await
    };
    let mut http = Http::onward(anybody);
    change(&mut http);
    let network = Network::default();
    network.add(PROXY, http.service());
    let dialer = HttpConnect::new(at(PROXY)).through(network);
    (http, dialer)
}

/// A proxy that says this after the request, piece by piece, and then echoes.
fn scripted(pieces: &[&[u8]]) -> HttpConnect {
    let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
    let network = Network::default();
    let serve = move |mut io: ByteStream| {
        let pieces = pieces.clone();
        async move {
            head(&mut io).await.unwrap();
            for piece in pieces {
                if io.write_all(&piece).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(1)).await;
            }
            echo()(io).await;
        }
    };
    network.add(PROXY, service(serve));
    HttpConnect::new(at(PROXY)).through(network)
}

#[tokio::test]
async fn the_request_is_these_bytes() {
    let onion = "vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd";
    for (address, authority) in [
        ("/ip4/192.0.2.7/tcp/4001", "192.0.2.7:4001"),
        ("/ip6/2001:db8::7/tcp/443", "[2001:db8::7]:443"),
        ("/dns4/Some.example./tcp/80", "Some.example.:80"),
        (&format!("/onion3/{onion}:80"), &format!("{onion}.onion:80")),
    ] {
        let (http, dialer) = proxy(|_| ());
        let mut stream = dial(&dialer, address).await.unwrap();
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        assert_eq!(http.log.lines(), ["connected", &request]);
        ahoy(&mut stream).await;
    }
}

#[tokio::test]
async fn credentials_go_with_the_request() {
    // The example of RFC 7617 section 2.
    let basic = "QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
    let (http, dialer) = proxy(|http| http.basic = Some(basic));
    let dialer = dialer.with_basic_auth("Aladdin", "open sesame");
    let mut stream = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap();
    let request = format!(
        "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\
         Proxy-Authorization: Basic {basic}\r\n\r\n"
    );
    assert_eq!(http.log.lines(), ["connected", &request]);
    ahoy(&mut stream).await;
}

#[tokio::test]
async fn wrong_or_missing_credentials_are_told_apart() {
    let guarded = |http: &mut Http| http.basic = Some("dTpw");
    let (_, dialer) = proxy(guarded);
    let error = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap_err();
    assert!(matches!(cause(&error), ProxyError::AuthenticationRequired));
    assert_eq!(error.fault(), Fault::Setup);
    let (_, dialer) = proxy(guarded);
    let dialer = dialer.with_basic_auth("u", "wrong");
    let error = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap_err();
    assert!(matches!(cause(&error), ProxyError::AuthenticationFailed));
    assert_eq!(error.stage(), DialStage::Request);
    assert_eq!(
        crate::support::chain(&error),
        "/dns4/a.example/tcp/80: via http://192.0.2.1:3128: waiting for the proxy to connect: \
         it refuses the user or the password"
    );
}

#[tokio::test]
async fn each_status_has_its_error_and_its_fault() {
    use Fault::{Setup, Target};
    for (status, message, fault) in [
        (
            400,
            "it does not support this: a CONNECT to this target",
            Setup,
        ),
        (401, "it answered with status 401", Target),
        (403, "it does not allow this target", Setup),
        (
            405,
            "it does not support this: a CONNECT to this target",
            Setup,
        ),
        (
            501,
            "it does not support this: a CONNECT to this target",
            Setup,
        ),
        (502, "it could not connect: status 502, bad gateway", Target),
        (
            503,
            "it could not connect: status 503, service unavailable",
            Target,
        ),
        (
            504,
            "it could not connect: status 504, gateway timeout",
            Target,
        ),
        (302, "it answered with status 302", Target),
        (500, "it answered with status 500", Target),
        (999, "it answered with status 999", Target),
    ] {
        let (_, dialer) = proxy(|http| http.status = status);
        let error = dial(&dialer, "/ip4/192.0.2.7/tcp/80").await.unwrap_err();
        assert_eq!(error.stage(), DialStage::Request);
        assert_eq!(cause(&error).to_string(), message);
        assert_eq!(error.fault(), fault, "status {status}");
    }
}

#[tokio::test]
async fn a_401_to_credentials_is_a_refusal_of_them() {
    let (_, dialer) = proxy(|http| http.status = 401);
    let dialer = dialer.with_basic_auth("u", "wrong");
    let error = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap_err();
    assert!(matches!(cause(&error), ProxyError::AuthenticationFailed));
    assert_eq!(error.fault(), Fault::Setup);
}

#[tokio::test]
async fn every_2xx_is_a_success_whatever_it_says_of_a_body() {
    // RFC 9110 section 9.3.6: these fields mean nothing here.
    for answer in [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 204 \r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 299 \r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\nX: y\n\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let dialer = scripted(&[answer.as_bytes()]);
        let dialed = dial(&dialer, "/dns4/a.example/tcp/80").await;
        let mut stream = dialed.unwrap_or_else(|error| panic!("{answer}: {error}"));
        ahoy(&mut stream).await;
    }
}

#[tokio::test(start_paused = true)]
async fn interim_answers_are_passed_over() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: b\r\n\r\n";
    let whole = [&interim[..], b"HTTP/1.1 200 OK\r\n\r\nhello"].concat();
    let split = &[
        &interim[..30],
        &interim[30..],
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ];
    for pieces in [&[&whole[..]][..], split] {
        let dialer = scripted(pieces);
        let mut stream = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        ahoy(&mut stream).await;
    }
    let dialer = scripted(&[interim, b"HTTP/1.1 403 No\r\n\r\n"]);
    let error = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap_err();
    assert!(matches!(cause(&error), ProxyError::NotAllowed));
}

#[tokio::test(start_paused = true)]
async fn what_follows_the_answer_in_one_piece_is_the_targets() {
    let answer = b"HTTP/1.1 200 OK\r\nX-Y: z\r\n\r\n";
    let body: Vec<u8> = (0..5_000).map(|n| (n % 251) as u8).collect();
    let whole = [&answer[..], &body].concat();
    // Cut anywhere, nothing is lost, doubled or moved.
    for cut in (1..answer.len() + 40).chain([1_023, 1_024, 1_025, 2_048, 4_000]) {
        let dialer = scripted(&[&whole[..cut], &whole[cut..]]);
        let mut stream = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap();
        let mut heard = vec![0; body.len()];
        // Readers with little room get it bit by bit.
        for piece in heard.chunks_mut(if cut % 2 == 0 { 7 } else { 5_000 }) {
            stream.read_exact(piece).await.unwrap();
        }
        assert!(heard == body, "cut at {cut}");
        ahoy(&mut stream).await;
    }
}

#[tokio::test]
async fn a_name_that_would_be_read_as_something_else_is_not_sent() {
    for host in [
        "",
        "a b",
        "a\r\nX: y",
        "a\0",
        "a:80",
        "u@a",
        "a/b",
        "a?b",
        "a#b",
        "[a]",
        "a%2f",
        "a\\b",
        "bücher.example",
    ] {
        let (http, dialer) = proxy(|_| ());
        let target = Target::new(name(host), 80, None);
        let error = dialer.dial(&target, &context()).await.unwrap_err();
        let unsupported = matches!(cause(&error), ProxyError::Unsupported(_));
        assert!(unsupported, "{host:?}: {error}");
        assert_eq!(http.log.count("CONNECT"), 0);
    }
}

#[tokio::test]
async fn a_dnsaddr_is_refused_before_anything_is_connected() {
    let network = Network::default();
    network.add(PROXY, silent());
    let dialer = HttpConnect::new(at(PROXY)).through(network.clone());
    let error = dial(&dialer, "/dnsaddr/some.example").await.unwrap_err();
    assert!(matches!(error, DialError::Unsupported { .. }), "{error}");
    assert!(network.dialed().is_empty());
}

#[tokio::test]
async fn a_check_connects_and_asks_for_nothing() {
    let (http, dialer) = proxy(|_| ());
    dialer.check(&context()).await.unwrap();
    until("the proxy has seen the end", || {
        http.log.count("ended") == 1
    })
    .await;
    assert_eq!(http.log.lines(), ["connected", "ended"]);
    let nobody = HttpConnect::new(at(PROXY)).through(Network::default());
    let error = nobody.check(&context()).await.unwrap_err();
    assert_eq!(error.stage(), DialStage::Reach);
}
