//! Uses this crate alone, over plain TCP. A server on loopback stops and starts again, and the program prints the time until it
//! is connected again. `cargo run -p bootstrap --example alone`.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use bootstrap::{
    AttemptId, Candidate, Driver, DriverEvent, Handle, Origin, Rejoin, RejoinConfig, RejoinEvent,
    sources::Task,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep, timeout_at},
};

/// A peer is known by its name. A real stack would learn the name in a handshake.
type Name = &'static str;

/// Accepts connections and keeps them open until the task is aborted.
async fn serve(address: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let accepting = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    (address, accepting)
}

/// Carries out one dial: connects and reports. An open connection has a task of its own, so that the end of the dial does not end
/// the connection.
async fn dial(handle: Handle<Name, SocketAddr>, dial: RejoinEvent<Name, SocketAddr>) {
    let RejoinEvent::Dial {
        attempt,
        peer: Some(peer),
        addresses,
        until,
        ..
    } = dial
    else {
        return;
    };
    // tokio tries the addresses one after the other. Your stack may dial all of them at once.
    let connected = timeout_at(Instant::from_std(until), TcpStream::connect(&addresses[..])).await;
    let Ok(Ok(stream)) = connected else {
        handle.with(|core, now| core.handle_failed(now, attempt));
        return;
    };
    let address = stream.peer_addr().ok();
    let is_first = handle.with(|core, now| {
        core.handle_answered(now, attempt, &peer);
        let is_first = !core.is_connected(&peer);
        core.handle_connected(now, &peer, address);
        is_first
    });
    // Two dials of the peer may succeed. This program needs one connection.
    if is_first {
        tokio::spawn(hold(handle, peer, stream));
    }
}

/// Waits for the end of a connection.
async fn hold(handle: Handle<Name, SocketAddr>, peer: Name, mut stream: TcpStream) {
    let _ = stream.read(&mut [0]).await;
    handle.with(|core, now| core.handle_disconnected(now, &peer));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (address, server) = serve("127.0.0.1:0".parse().expect("an address")).await;
    let source = Task::new(move |finds| async move {
        finds
            .candidate(Candidate::new(
                Some("the server"),
                vec![address],
                Origin::Saved,
            ))
            .await;
    });
    // Shorter times than the default ones, so that the example takes a few seconds.
    let stays = (Duration::from_millis(500), Duration::from_secs(1));
    let config = RejoinConfig::default().with_stays(stays.0, stays.1);
    let core = Rejoin::new(Some("this node"), std::process::id().into(), config);
    let (mut driver, handle) = Driver::new(core, vec![Box::new(source)]);

    let start = Instant::now();
    let reporter = handle.clone();
    let running = tokio::spawn(async move {
        let mut dials = HashMap::<AttemptId, AbortHandle>::new();
        loop {
            match driver.next().await {
                DriverEvent::Rejoin(event @ RejoinEvent::Dial { attempt, .. }) => {
                    println!("{:>6} ms  dials", start.elapsed().as_millis());
                    dials.retain(|_, dial| !dial.is_finished());
                    let task = tokio::spawn(dial(reporter.clone(), event));
                    dials.insert(attempt, task.abort_handle());
                }
                DriverEvent::Rejoin(RejoinEvent::Abandon { attempt }) => {
                    if let Some(dial) = dials.remove(&attempt) {
                        dial.abort();
                    }
                }
                DriverEvent::Rejoin(RejoinEvent::State { to, .. }) => {
                    println!("{:>6} ms  {to}", start.elapsed().as_millis());
                }
                _ => {}
            }
        }
    });
    let within = |seconds| Instant::now() + Duration::from_secs(seconds);
    handle
        .joined(within(10))
        .await
        .expect("the server is there");
    sleep(Duration::from_secs(1)).await;

    println!(
        "{:>6} ms  the server goes down",
        start.elapsed().as_millis()
    );
    server.abort();
    sleep(Duration::from_secs(3)).await;
    println!("{:>6} ms  {}", start.elapsed().as_millis(), handle.status());
    let (_, server) = serve(address).await;
    let up = Instant::now();
    handle.joined(within(10)).await.expect("the server is back");
    println!(
        "joined again {} ms after the server was back",
        up.elapsed().as_millis()
    );
    running.abort();
    server.abort();
}
