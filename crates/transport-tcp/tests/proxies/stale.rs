//! Connections that were ready and have died since.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};
use transport_tcp::{ByteStream, DialStage, HttpConnect, Warm};

use crate::{
    support::proxy::{Log, Network, Service, Socks, ahoy, at, dial, echo, head, service, until},
    warm::{PROXY, TARGET, config, open, over, ready},
};

#[tokio::test(start_paused = true)]
async fn one_that_the_proxy_has_closed_or_spoiled_is_not_used() {
    for parting in [&b""[..], b"5"] {
        let network = Network::default();
        network.add("target.example:80", echo());
        let socks = Socks::onward(network.clone());
        let (spoil, inner) = (Arc::new(Notify::new()), socks.service());
        let spoiler = spoil.clone();
        // In front of the real one: passes everything on until it is told to spoil it.
        let front = service(move |mut near: ByteStream| {
            let (spoil, inner) = (spoiler.clone(), inner.clone());
            async move {
                let (far, end) = tokio::io::duplex(1024);
                let mut far = ByteStream::boxed(far);
                tokio::spawn(inner(ByteStream::boxed(end)));
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = spoil.notified() => drop(near.write_all(parting).await),
                }
                drop(far);
                if !parting.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        });
        network.add(PROXY, front);
        let warm = over(&network, config(3));
        drop(dial(&warm, TARGET).await.unwrap());
        ready(&warm, 3).await;
        spoil.notify_waiters();
        until("they are closed", || open(&socks.log) == 0).await;
        let before = socks.log.lines().len();
        let mut stream = dial(&warm, TARGET).await.unwrap();
        ahoy(&mut stream).await;
        assert_eq!(socks.log.lines()[before], "connected", "a new one was made");
        ready(&warm, 3).await;
    }
}

/// A proxy whose first `bad` connections after the first one come to this end once they are asked.
fn dying(bad: usize, last_words: &'static [u8]) -> (Log, Service) {
    let (log, count) = (Log::default(), Arc::new(AtomicUsize::new(0)));
    let noted = log.clone();
    let serve = move |mut io: ByteStream| {
        let (log, number) = (noted.clone(), count.fetch_add(1, Ordering::Relaxed));
        async move {
            log.note("connected");
            let mut greeting = [0; 3];
            let greeted = io.read_exact(&mut greeting).await;
            assert!(greeted.is_err() || greeting == [5, 1, 0]);
            let _ = io.write_all(&[5, 0]).await;
            let mut request = [0; 4 + 1 + 14 + 2];
            if io.read_exact(&mut request).await.is_err() {
                return;
            }
            log.note(format!("asked {number}"));
            if (1..=bad).contains(&number) {
                let _ = io.write_all(last_words).await;
                return;
            }
            let _ = io.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await;
            echo()(io).await;
        }
    };
    (log, service(serve))
}

#[tokio::test(start_paused = true)]
async fn one_that_breaks_in_the_request_makes_way_for_a_new_one() {
    // Without a word, or in the middle of the answer.
    for last_words in [&b""[..], &[5, 0, 0, 1, 0]] {
        let (log, service) = dying(1, last_words);
        let network = Network::default();
        network.add(PROXY, service);
        let warm = over(&network, config(1));
        drop(dial(&warm, TARGET).await.unwrap());
        ready(&warm, 1).await;
        ahoy(&mut dial(&warm, TARGET).await.unwrap()).await;
        assert_eq!(log.count("asked 0"), 1);
        assert_eq!(log.count("asked 1"), 1, "the ready one was not tried");
        assert_eq!(log.count("asked"), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_an_answer_and_is_not_asked_for_again() {
    let no = &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0];
    let garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    for last_words in [&no[..], garbage] {
        let (log, service) = dying(1, last_words);
        let network = Network::default();
        network.add(PROXY, service);
        let warm = over(&network, config(1));
        drop(dial(&warm, TARGET).await.unwrap());
        ready(&warm, 1).await;
        let error = dial(&warm, TARGET).await.unwrap_err();
        assert_eq!(error.stage(), DialStage::Request, "{error}");
        assert_eq!(log.count("asked"), 2, "asked again");
    }
}

#[tokio::test(start_paused = true)]
async fn http_connections_that_break_in_the_request_make_way_as_well() {
    let network = Network::default();
    let count = Arc::new(AtomicUsize::new(0));
    let serve = move |mut io: ByteStream| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            if head(&mut io).await.is_ok() && number != 1 {
                let _ = io.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                echo()(io).await;
            }
        }
    };
    network.add(PROXY, service(serve));
    let warm = Warm::new(HttpConnect::new(at(PROXY)).through(network), config(1));
    drop(dial(&warm, TARGET).await.unwrap());
    ready(&warm, 1).await;
    ahoy(&mut dial(&warm, TARGET).await.unwrap()).await;
}
