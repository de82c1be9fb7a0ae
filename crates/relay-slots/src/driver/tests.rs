use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use libp2p_identity::{Keypair, PeerId};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    exchange::{CLOSE, MESSAGE, REQUEST, now, read},
    *,
};
use crate::{
    Answer, AskError, Caps, Client, ClientConfig, ClientEvent, ConnectionId, Direction, Event,
    Multiaddr, Origin, Refusal, Server, SpliceEnd, Table, TableConfig,
    wire::{HopMessage, Limit, Reservation, StopMessage},
};

mod client;
mod server;

struct Relay {
    server: Arc<RelayServer>,
    id: PeerId,
    holder: (PeerId, ConnectionId),
    source: (PeerId, ConnectionId),
}

fn peer() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

fn relay_of(config: TableConfig) -> Relay {
    let keypair = Keypair::generate_ed25519();
    let id = keypair.public().to_peer_id();
    let table = Table::new(now(), 1, Caps::default(), config);
    let server = RelayServer::new(Server::new(table, keypair, Vec::new()));
    let connect = |number| {
        let (peer, connection) = (peer(), ConnectionId(number));
        server.handle_connected(connection, &peer, Origin::Local);
        (peer, connection)
    };
    let (holder, source) = (connect(1), connect(2));
    Relay {
        server: Arc::new(server),
        id,
        holder,
        source,
    }
}

type Task = JoinHandle<Served>;

impl Relay {
    /// Serves a new hop stream, and opens the stop stream that is given. Returns the peer's end of the hop stream.
    fn serve(&self, connection: ConnectionId, stop: Option<DuplexStream>) -> (DuplexStream, Task) {
        let (theirs, ours) = duplex(8000);
        let server = self.server.clone();
        let task = tokio::spawn(async move {
            let open = async |_| stop.ok_or(());
            server.serve(connection, ours, open).await
        });
        (theirs, task)
    }

    async fn reserve(&self) {
        let (holder, connection) = self.holder;
        let (mut hop, task) = self.serve(connection, None);
        let answer = reserve(&mut hop, self.id, holder).await;
        let Answer::Granted { reservation, .. } = answer else {
            panic!("{answer:?}");
        };
        assert!(reservation.voucher.is_some(), "it is valid");
        let served = task.await.unwrap();
        let granted = matches!(
            served,
            Served::Answered {
                status: Status::Ok,
                refusal: None
            }
        );
        assert!(granted, "{served:?}");
    }

    /// An open circuit: its source, its destination, and the task that serves it.
    async fn circuit(&self) -> (DuplexStream, DuplexStream, Task) {
        self.reserve().await;
        let (stop, mut destination) = duplex(8000);
        let (mut source, task) = self.serve(self.source.1, Some(stop));
        let (connected, accepted) = tokio::join!(
            connect(&mut source, self.holder.0, MESSAGE),
            accept(&mut destination)
        );
        connected.unwrap();
        accepted.unwrap();
        (source, destination, task)
    }

    fn circuits(&self) -> usize {
        self.server.usage().circuits
    }
}

/// A destination that accepts circuits of any relay.
async fn accept(stop: &mut DuplexStream) -> Result<Circuit<&mut DuplexStream>, DriveError> {
    let relay = peer();
    let client = RelayClient::new(peer(), Client::new(1, ClientConfig::default()));
    client.handle_candidate(relay, &"/ip4/192.0.2.1/tcp/1".parse().unwrap(), None);
    client.accept(&relay, stop).await
}

/// A destination that knows no relay.
async fn refuse(stop: &mut DuplexStream) -> Result<Circuit<&mut DuplexStream>, DriveError> {
    let client = RelayClient::new(peer(), Client::new(1, ClientConfig::default()));
    client.accept(&peer(), stop).await
}

/// Passes bytes on, but never accepts its end.
struct NeverEnds(DuplexStream);

impl AsyncRead for NeverEnds {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for NeverEnds {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}
