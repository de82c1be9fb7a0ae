//! Against SOCKS5.

use super::*;

use crate::support::proxy::ahoy;

const NONE: &[u8] = &[5, 0];

const PASSWORD: &[u8] = &[5, 2];

const GRANTED: &[u8] = &[1, 0];

const CONNECTED: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0, 80];

/// What is read of a greeting without and with a password, of the password `u`:`p`, and of the request.
const GREETING: Step = Read(3);
const GREETING_2: Step = Read(4);
const SECRET: Step = Read(5);
const REQUEST: Step = Read(4 + 1 + 14 + 2);

const INSTANT: Duration = Duration::ZERO;

fn open(base: Arc<dyn Dialer>) -> Proxy {
    Socks5::new(at(PROXY)).through(base).into()
}

fn guarded(base: Arc<dyn Dialer>) -> Proxy {
    let proxy = Socks5::new(at(PROXY)).through(base);
    proxy.with_password("u", "p").into()
}

fn honest() -> [(Step, &'static [u8]); 2] {
    [(GREETING, NONE), (REQUEST, CONNECTED)]
}

fn honest_guarded() -> [(Step, &'static [u8]); 3] {
    [
        (GREETING_2, PASSWORD),
        (SECRET, GRANTED),
        (REQUEST, CONNECTED),
    ]
}

fn stage(step: usize, last: usize) -> DialStage {
    match step == last {
        true => DialStage::Request,
        false => DialStage::Greet,
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_at_any_byte_ends_at_the_handshakes_limit() {
    let timed_out = |error: &ProxyError| matches!(error, ProxyError::TimedOut);
    for (n, mut script) in cuts(&honest()) {
        script.push(Stall);
        fails(script, open, (stage(n, 1), HANDSHAKE), timed_out).await;
    }
    for (n, mut script) in cuts(&honest_guarded()) {
        script.push(Stall);
        fails(script, guarded, (stage(n, 2), HANDSHAKE), timed_out).await;
    }
    fails([Stall], open, (DialStage::Greet, HANDSHAKE), timed_out).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_at_any_byte_is_said_at_once() {
    let closed = |error: &ProxyError| matches!(error, ProxyError::Closed);
    for (n, script) in cuts(&honest()) {
        fails(script, open, (stage(n, 1), INSTANT), closed).await;
    }
    for (n, script) in cuts(&honest_guarded()) {
        fails(script, guarded, (stage(n, 2), INSTANT), closed).await;
    }
    // Without reading anything.
    fails([], open, (DialStage::Greet, INSTANT), closed).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_socks5_is_found_out_in_the_greeting() {
    let malformed = |error: &ProxyError| matches!(error, ProxyError::Malformed(_));
    for answer in [
        &[4, 0][..],
        &[0, 0],
        &[0xff, 0xff],
        // Methods that were not offered: GSSAPI, one of somebody's own, a password that we have none of.
        &[5, 1],
        &[5, 0x80],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &[0x15, 3, 3, 0, 2, 2, 70],
    ] {
        let script = [GREETING, Write(answer.to_vec()), Stall];
        fails(script, open, (DialStage::Greet, INSTANT), malformed).await;
    }
    let required = |error: &ProxyError| matches!(error, ProxyError::AuthenticationRequired);
    for answer in [&[5, 0xff], PASSWORD] {
        let script = [GREETING, Write(answer.to_vec()), Stall];
        fails(script, open, (DialStage::Greet, INSTANT), required).await;
    }
    for answer in [&[5, 0], &[0, 0], &[0xff, 0]] {
        let script = [
            GREETING_2,
            Write(PASSWORD.to_vec()),
            SECRET,
            Write(answer.to_vec()),
            Stall,
        ];
        fails(script, guarded, (DialStage::Greet, INSTANT), malformed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_none_is_found_out_in_the_request() {
    let malformed = |error: &ProxyError| matches!(error, ProxyError::Malformed(_));
    let not_text: Vec<u8> = [&[5, 0, 0, 3, 255][..], &[0xff; 255], &[0, 80]].concat();
    for reply in [
        &[4, 0, 0, 1, 10, 0, 0, 1, 0, 80][..],
        &[0; 10],
        &[0xff; 10],
        // The reserved byte, the type of address, a code that RFC 1928 does not know.
        &[5, 0, 1, 1, 10, 0, 0, 1, 0, 80],
        &[5, 0, 0, 2, 10, 0, 0, 1, 0, 80],
        &[5, 0, 0, 0, 10, 0, 0, 1, 0, 80],
        &[5, 9, 0, 1, 10, 0, 0, 1, 0, 80],
        &not_text,
        b"HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let script = [
            GREETING,
            Write(NONE.to_vec()),
            REQUEST,
            Write(reply.to_vec()),
            Stall,
        ];
        fails(script, open, (DialStage::Request, INSTANT), malformed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_greeting_without_end_is_not_read_to_its_end() {
    let malformed = |error: &ProxyError| matches!(error, ProxyError::Malformed(_));
    for endless in [vec![0; 100_000], b"garbage ".repeat(12_500)] {
        let script = [GREETING, Endless(endless, Duration::ZERO)];
        fails(script, open, (DialStage::Greet, INSTANT), malformed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_is_read_than_the_reply_has() {
    // A domain of 255 bytes makes the longest reply that there is.
    let longest: Vec<u8> = [&[5, 0, 0, 3, 255][..], &[b'x'; 255], &[0, 80]].concat();
    let shortest = [5, 0, 0, 3, 0, 0, 80];
    let six = [&[5, 0, 0, 4][..], &[0xfd; 16], &[0, 80]].concat();
    for reply in [&longest[..], &shortest, &six, CONNECTED] {
        let early = [reply, b"early"].concat();
        let flood = [reply, &[b'e'; 100_000]].concat();
        for answer in [early, flood] {
            let hostile = Hostile::new([
                GREETING,
                Write(NONE.to_vec()),
                REQUEST,
                Write(answer.clone()),
                Stall,
            ]);
            for (name, dialer) in victims(&hostile, open) {
                for _ in 0..2 {
                    let taken = hostile.taken.load(Ordering::Relaxed);
                    let mut stream = attempt(&*dialer).await.outcome.unwrap();
                    if name == "alone" && answer.len() > 1_000 {
                        let taken = hostile.taken.load(Ordering::Relaxed) - taken;
                        assert!(taken <= 2 + reply.len() + 2 * PIPE, "{taken} bytes");
                    }
                    // All that follows is the target's.
                    let mut heard = vec![0; answer.len() - reply.len()];
                    stream.read_exact(&mut heard).await.unwrap();
                    assert!(heard == answer[reply.len()..], "{name}");
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_comes_byte_by_byte_succeeds_in_time_or_ends_at_the_limit() {
    let script = |pause| {
        let trickle = |bytes: &[u8]| Trickle(bytes.to_vec(), pause);
        let mut script = vec![GREETING, trickle(NONE), REQUEST, trickle(CONNECTED)];
        script.extend([Read(4), Write(b"ahoy".to_vec()), Stall]);
        script
    };
    for (_, dialer) in victims(&Hostile::new(script(Duration::from_millis(100))), open) {
        let mut stream = attempt(&*dialer).await.outcome.unwrap();
        ahoy(&mut stream).await;
    }
    let timed_out = |error: &ProxyError| matches!(error, ProxyError::TimedOut);
    let expected = (DialStage::Request, HANDSHAKE);
    fails(
        script(Duration::from_millis(1_000)),
        open,
        expected,
        timed_out,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_before_the_questions_are_no_way_to_a_ready_connection() {
    // All of the dialogue at once: what is kept ready has something to say, which a proxy that was greeted has not.
    let all = [NONE, CONNECTED].concat();
    let hostile = Hostile::new([Write(all), GREETING, Stall]);
    let base: Arc<dyn Dialer> = Arc::new(hostile.clone());
    let warm = Warm::new(open(base), WarmConfig::default().with_size(1));
    for dials in 1..=3 {
        attempt(&warm).await.outcome.unwrap();
        sleep(Duration::from_millis(20)).await;
        // Each dial makes its own, and one is made to replace what was thrown away.
        let connections = hostile.connections.load(Ordering::Relaxed);
        assert_eq!((connections, warm.ready()), (2 * dials, 1));
    }
}
