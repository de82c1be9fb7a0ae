//! Against HTTP's CONNECT.

use rustls::RootCertStore;
use transport_tcp::{HttpConnect, ProxyTls};

use super::*;

use crate::support::proxy::{ahoy, cause};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n";

/// What is read of an answer's header.
const LIMIT: usize = 16 * 1024;

const INSTANT: Duration = Duration::ZERO;

const REQUEST: DialStage = DialStage::Request;

fn proxy(base: Arc<dyn Dialer>) -> Proxy {
    HttpConnect::new(at(PROXY)).through(base).into()
}

fn closed(error: &ProxyError) -> bool {
    matches!(error, ProxyError::Closed)
}

fn timed_out(error: &ProxyError) -> bool {
    matches!(error, ProxyError::TimedOut)
}

fn malformed(error: &ProxyError) -> bool {
    matches!(error, ProxyError::Malformed(_))
}

fn too_long(error: &ProxyError) -> bool {
    matches!(error, ProxyError::TooLong { limit: LIMIT })
}

#[tokio::test(start_paused = true)]
async fn a_stall_at_any_byte_ends_at_the_handshakes_limit() {
    for (_, mut script) in cuts(&[(Head, ANSWER)]) {
        script.push(Stall);
        fails(script, proxy, (REQUEST, HANDSHAKE), timed_out).await;
    }
    fails([Stall], proxy, (REQUEST, HANDSHAKE), timed_out).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_at_any_byte_is_said_at_once() {
    for (_, script) in cuts(&[(Head, ANSWER)]) {
        fails(script, proxy, (REQUEST, INSTANT), closed).await;
    }
    for unread in [vec![], vec![Read(10)]] {
        fails(unread, proxy, (REQUEST, INSTANT), closed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http_is_found_out_at_once() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
        &[5, 0],
        &[0x15, 3, 3, 0, 2, 2, 70],
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 ok\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 -20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 \xff\xfe\0\r\n\r\n",
    ] {
        let script = [Head, Write(answer.to_vec()), Stall];
        fails(script, proxy, (REQUEST, INSTANT), malformed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_fields_are_refused() {
    let with = |fields| {
        [
            &b"HTTP/1.1 200 OK\r\n"[..],
            &b"A: b\r\n".repeat(fields),
            b"\r\n",
        ]
        .concat()
    };
    let script = |fields| vec![Head, Write(with(fields)), Stall];
    fails(script(101), proxy, (REQUEST, INSTANT), malformed).await;
    let hostile = Hostile::new(script(100));
    for (_, dialer) in victims(&hostile, proxy) {
        attempt(&*dialer).await.outcome.unwrap();
    }
}

/// Headers that are longer than any header is, or that never end.
fn endless() -> Vec<Step> {
    let begin = |text: &str| Write(format!("HTTP/1.1 200 OK\r\n{text}").into_bytes());
    let again = |text: &str| Endless(text.as_bytes().to_vec(), Duration::ZERO);
    let long = "x".repeat(100_000);
    vec![
        begin(&format!("A: {long}\r\n\r\n")),
        begin(&format!("{long}: b\r\n\r\n")),
        Write(format!("HTTP/1.1 200 {long}\r\n\r\n").into_bytes()),
        begin(&format!("A: {}\r\n\r\n", "x".repeat(LIMIT))),
        again("\r\n"),
        again("HTTP/1.1 100 Continue\r\n\r\n"),
        again(&format!("HTTP/1.1 103 {}\r\n\r\n", "x".repeat(5_000))),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_header_without_end_is_not_read_to_its_end() {
    for step in endless() {
        fails(
            [Head, step.clone(), Stall],
            proxy,
            (REQUEST, INSTANT),
            too_long,
        )
        .await;
        let hostile = Hostile::new([Head, step, Stall]);
        let alone = victims(&hostile, proxy).into_iter().next().unwrap().1;
        attempt(&*alone).await.outcome.unwrap_err();
        let taken = hostile.taken.load(Ordering::Relaxed);
        assert!(taken <= LIMIT + 5_100 + PIPE, "{taken} bytes were read");
        assert!(taken >= LIMIT / 2, "{taken} bytes were read");
    }
    for script in [
        vec![Head, Write(b"HTTP/1.1 200 OK\r\n".to_vec())],
        vec![Head, Write(b"HTTP/1.1 200 OK\r\nA: ".to_vec())],
    ] {
        // A byte at a time, which the limit of bytes would let go on for 27 minutes.
        let mut script = script;
        script.push(Endless(b"x".to_vec(), Duration::from_millis(100)));
        fails(script, proxy, (REQUEST, HANDSHAKE), timed_out).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_of_the_very_limit_is_read() {
    let with = |length: usize| {
        let frame = b"HTTP/1.1 200 OK\r\nA: \r\n\r\n".len();
        format!(
            "HTTP/1.1 200 OK\r\nA: {}\r\n\r\n",
            "x".repeat(length - frame)
        )
    };
    let hostile = Hostile::new([Head, Write(with(LIMIT).into_bytes()), Stall]);
    for (_, dialer) in victims(&hostile, proxy) {
        attempt(&*dialer).await.outcome.unwrap();
    }
    let script = [Head, Write(with(LIMIT + 1).into_bytes()), Stall];
    fails(script, proxy, (REQUEST, INSTANT), too_long).await;
}

#[tokio::test(start_paused = true)]
async fn a_header_that_comes_byte_by_byte_is_a_header() {
    let trickle = Trickle(ANSWER.to_vec(), Duration::from_millis(100));
    let script = [Head, trickle, Read(4), Write(b"ahoy".to_vec()), Stall];
    for (_, dialer) in victims(&Hostile::new(script), proxy) {
        let mut stream = attempt(&*dialer).await.outcome.unwrap();
        ahoy(&mut stream).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusals_body_is_not_read() {
    let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000000\r\n\r\n";
    let script = [
        Head,
        Write(refusal.to_vec()),
        Endless(vec![b'x'; PIPE], Duration::ZERO),
    ];
    let not_allowed = |error: &ProxyError| matches!(error, ProxyError::NotAllowed);
    fails(script.clone(), proxy, (REQUEST, INSTANT), not_allowed).await;
    let hostile = Hostile::new(script);
    let alone = victims(&hostile, proxy).into_iter().next().unwrap().1;
    attempt(&*alone).await.outcome.unwrap_err();
    assert!(hostile.taken.load(Ordering::Relaxed) <= 4 * PIPE);
}

#[tokio::test(start_paused = true)]
async fn a_tls_handshake_that_stalls_or_is_none_ends_as_well() {
    let secured = |base: Arc<dyn Dialer>| -> Proxy {
        let tls = ProxyTls::with_roots(RootCertStore::empty());
        let proxy = HttpConnect::new(at(PROXY)).with_tls(tls).through(base);
        proxy.into()
    };
    let secure = |time| (DialStage::Secure, time);
    // A record that says to be a server's first words, and has less or more than it says. What rustls says first is more
    // than the pipe holds, so some of it must be read.
    let record = [0x16, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc];
    for said in [vec![], vec![0x16], record.to_vec()] {
        let stalls = [Read(1_000), Write(said.clone()), Stall];
        fails(stalls, secured, secure(HANDSHAKE), timed_out).await;
        let closes = [Read(1_000), Write(said)];
        fails(closes, secured, secure(INSTANT), closed).await;
    }
    let tls = |error: &ProxyError| matches!(error, ProxyError::Tls(_));
    for said in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &[0; 9],
        &[0xff; 9],
    ] {
        let script = [Read(1_000), Write(said.to_vec()), Stall];
        fails(script, secured, secure(INSTANT), tls).await;
    }
    let endless = Endless([&record[..], &[0; 5_000]].concat(), Duration::ZERO);
    let hostile = Hostile::new([Read(1_000), endless]);
    let alone = victims(&hostile, secured).into_iter().next().unwrap().1;
    assert!(tls(cause(&attempt(&*alone).await.outcome.unwrap_err())));
    // A handshake message may have 64 KiB, in records of 16 KiB each.
    let taken = hostile.taken.load(Ordering::Relaxed);
    assert!(taken <= 100_000, "{taken} bytes were read");
}
