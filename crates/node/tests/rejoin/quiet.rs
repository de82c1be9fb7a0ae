//! Peers that owe an answer, although their connections are open.

use node::{Connection, transport_tcp::Target};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{common::fragile_path, *};

/// A connection over a path that goes dead without a notice, and the peer's own address.
async fn silent_peer(here: &Node, events: &mut Events) -> (Node, Connection, Multiaddr) {
    let there = node();
    let at = listen(&there, TCP).await;
    let (through, kill) = fragile_path(&at).await;
    let connection = here.dial([through]).await.unwrap();
    identified(events, there.peer_id()).await;
    kill.send(()).unwrap();
    (there, connection, at.iter().take(2).collect())
}

#[tokio::test]
async fn a_peer_that_owes_a_ping_is_dialed_anew_although_its_connection_is_open() {
    let here = joining(BootstrapConfig::default().with_redial(true));
    let mut events = here.events();
    let (there, connection, at) = silent_peer(&here, &mut events).await;
    let silent = Instant::now();
    // The ping never ends in time. Only its connection shows the silence.
    let pinging = tokio::spawn(async move { connection.ping().await });
    assert_eq!(connected(&mut events, there.peer_id()).await, at);
    println!(
        "connected anew {:?} after the path was gone",
        silent.elapsed()
    );
    let new = here.connection(there.peer_id()).unwrap();
    within(new.ping()).await.unwrap();
    pinging.abort();
    here.shutdown().await;
    there.shutdown().await;
}

/// A path to `address` that stalls while the value is true. No end notices.
async fn stalling_path(address: &Multiaddr) -> (Multiaddr, watch::Sender<bool>) {
    let target = Target::from_multiaddr(address).unwrap();
    let forwarder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = forwarder.local_addr().unwrap().port();
    let (stall, stalled) = watch::channel(false);
    tokio::spawn(async move {
        let (near, _) = forwarder.accept().await.unwrap();
        let far = TcpStream::connect(target.authority()).await.unwrap();
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        let there = forward(near_in, far_out, stalled.clone());
        tokio::join!(there, forward(far_in, near_out, stalled));
    });
    let through = format!("/ip4/127.0.0.1/tcp/{port}");
    let through: Multiaddr = through.parse().unwrap();
    let peer = address.iter().last().unwrap();
    (through.with(peer), stall)
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut stalled: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 4096];
    while let Ok(length) = from.read(&mut bytes).await
        && length > 0
    {
        if stalled.wait_for(|stalled| !stalled).await.is_err() {
            return;
        }
        to.write_all(&bytes[..length]).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_on_a_quiet_connection_that_works_again_loses_nothing() {
    const ECHO: &str = "/echo/1";
    let here = joining(BootstrapConfig::default().with_redial(true));
    let mut events = here.events();
    let there = node();
    let mut streams = there.handle(ECHO, 1).unwrap();
    let at = listen(&there, TCP).await;
    let (through, stall) = stalling_path(&at).await;
    let old = here.dial([through]).await.unwrap();
    identified(&mut events, there.peer_id()).await;
    let (_, mut stream) = old.open(&[ECHO]).await.unwrap();
    stream.write_all(b"before").await.unwrap();
    let mut far = within(streams.next()).await.unwrap().stream;
    let mut read = [0; 6];
    within(far.read_exact(&mut read)).await.unwrap();

    stall.send(true).unwrap();
    let pinging = tokio::spawn({
        let old = old.clone();
        async move { old.ping().await }
    });
    connected(&mut events, there.peer_id()).await;
    // The peer has not heard these bytes when the new connection is there.
    stream.write_all(b"within").await.unwrap();
    stall.send(false).unwrap();
    within(far.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"within");
    far.write_all(b"answer").await.unwrap();
    within(stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"answer");
    let _ = within(pinging).await;
    here.shutdown().await;
    there.shutdown().await;
}
