//! What the suites share. Each uses a part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod foreign;
pub mod initial;
pub mod raw;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use transport_quic::{Config, Connection, Endpoint, Keypair, PeerId, UdpBinder};

pub const PATIENCE: Duration = Duration::from_secs(30);

/// Fails loudly instead of hanging.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this should have happened long ago")
}

/// Waits for something that has no event of its own.
pub async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Lets the other tasks of this thread run, and loopback datagrams arrive: each turn polls the sockets.
pub async fn pause() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

pub fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub fn id(keypair: &Keypair) -> PeerId {
    keypair.public().to_peer_id()
}

pub struct Node {
    pub keypair: Keypair,
    pub endpoint: Endpoint,
    pub address: SocketAddr,
}

impl Node {
    pub fn new(config: Config) -> Self {
        Self::at(localhost(), Keypair::generate_ed25519(), config)
    }

    pub fn at(address: SocketAddr, keypair: Keypair, config: Config) -> Self {
        let endpoint = Endpoint::bind(address, &keypair, config).unwrap();
        Self::of(keypair, endpoint)
    }

    pub fn with_binder(config: Config, binder: Arc<dyn UdpBinder>) -> Self {
        let keypair = Keypair::generate_ed25519();
        let endpoint = Endpoint::with_binder(localhost(), &keypair, config, binder).unwrap();
        Self::of(keypair, endpoint)
    }

    fn of(keypair: Keypair, endpoint: Endpoint) -> Self {
        let address = endpoint.local_addr().unwrap();
        Self {
            keypair,
            endpoint,
            address,
        }
    }

    pub fn id(&self) -> PeerId {
        id(&self.keypair)
    }

    /// Accepts one connection in the background.
    pub fn accept_one(&self) -> JoinHandle<Connection> {
        let endpoint = self.endpoint.clone();
        tokio::spawn(async move {
            let incoming = endpoint.accept().await.expect("endpoint open");
            incoming.accept().await.expect("a good handshake")
        })
    }

    /// Accepts for ever; every stream is echoed.
    pub fn echo(&self) -> JoinHandle<()> {
        let endpoint = self.endpoint.clone();
        tokio::spawn(async move {
            while let Ok(incoming) = endpoint.accept().await {
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.accept().await {
                        echo_streams(connection).await;
                    }
                });
            }
        })
    }
}

pub async fn echo_streams(connection: Connection) {
    while let Some(stream) = connection.accept().await {
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(stream);
            tokio::io::copy(&mut read, &mut write).await?;
            tokio::io::AsyncWriteExt::shutdown(&mut write).await
        });
    }
}

/// Two nodes and both ends of one connection: (dialer, its end, listener, its end).
pub async fn pair(config: Config) -> (Node, Connection, Node, Connection) {
    let (dialer, listener) = (Node::new(config.clone()), Node::new(config));
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(listener.address, Some(listener.id())))
        .await
        .unwrap();
    let accepted = within(accepted).await.unwrap();
    (dialer, dialed, listener, accepted)
}

/// Writes `data` on a new stream and reads what comes back.
pub async fn ask(connection: &Connection, data: &[u8]) -> std::io::Result<Vec<u8>> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let stream = connection.open().await.map_err(std::io::Error::other)?;
    let (mut read, mut write) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let (sent, read) = tokio::join!(
        async {
            write.write_all(data).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut answer)
    );
    sent?;
    read?;
    Ok(answer)
}
