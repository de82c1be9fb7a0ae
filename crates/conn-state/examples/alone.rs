//! The crate alone: plain TCP sockets, whose peers are named by the first line they send. Two peers come and go, and a third
//! one, which this host dials, never says who it is.
//!
//! `cargo run -p conn-state --example alone`

use std::{
    collections::HashMap,
    error::Error,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use conn_state::{
    Action, Closing, ConnectionId, Detail, Recommended, Route, SharedTracker, State, TrackerConfig,
    Update, WithoutProbes,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, spawn},
};

/// How long a peer may take to say who it is.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Clone)]
struct Host {
    tracker: SharedTracker<String>,
    /// Closes each connection.
    open: Arc<Mutex<HashMap<ConnectionId, AbortHandle>>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let policy = WithoutProbes(Recommended::default().with_max_ages(PATIENCE, None));
    let (local, config) = ("harbour".to_owned(), TrackerConfig::default());
    let host = Host {
        tracker: SharedTracker::new(Instant::now(), local, policy, config),
        open: Arc::default(),
    };
    let (_, mut events) = host.tracker.subscribe();
    spawn(host.clone().act());

    let harbour = TcpListener::bind("127.0.0.1:0").await?;
    let address = harbour.local_addr()?;
    spawn(host.clone().accept(harbour));
    // This end accepts the connection and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").await?;
    host.dial("mute".to_owned(), mute.local_addr()?);
    spawn(sail("alice", address));
    spawn(sail("bob", address));

    let mut gone = 0;
    while gone < 3 {
        if let Update::Event(event) = events.next().await {
            let (number, peer, cause) = (event.number, event.peer, event.cause);
            println!("{peer} {number}: {} -> {}, {cause}", event.from, event.to);
            gone += usize::from(event.to == State::NotConnected);
        }
    }
    Ok(())
}

impl Host {
    /// Carries out the tracker's actions. These hosts do not probe, so a peer that connects twice has two connections.
    async fn act(self) {
        loop {
            if let Action::Close(id, closing) = self.tracker.next_action().await {
                if let Some(task) = self.connections().remove(&id) {
                    task.abort();
                }
                self.closed(id, closing, None);
            }
        }
    }

    async fn accept(self, harbour: TcpListener) {
        while let Ok((stream, _)) = harbour.accept().await {
            // The policy limits their number; the others are closed at once.
            if let Ok(id) = self.tracker.handle_inbound(Instant::now()) {
                self.open(id, async { Ok(stream) });
            }
        }
    }

    fn dial(&self, name: String, address: SocketAddr) {
        if let Ok(id) = self.tracker.handle_dialing(Instant::now(), Some(&name)) {
            self.open(id, TcpStream::connect(address));
        }
    }

    fn open(
        &self,
        id: ConnectionId,
        stream: impl Future<Output = std::io::Result<TcpStream>> + Send + 'static,
    ) {
        let host = self.clone();
        let task = spawn(async move {
            let (closing, detail) = match host.serve(id, stream).await {
                Ok(()) => (Closing::Remote { code: None }, None),
                Err(error) => (Closing::Lost, Some(Detail::new(error))),
            };
            host.connections().remove(&id);
            host.closed(id, closing, detail);
        });
        self.connections().insert(id, task.abort_handle());
    }

    /// Serves the peer until it leaves.
    async fn serve(
        &self,
        id: ConnectionId,
        stream: impl Future<Output = std::io::Result<TcpStream>>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut lines = BufReader::new(stream.await?.take(1_000)).lines();
        let name = lines.next_line().await?.ok_or("it has no name")?;
        let now = Instant::now();
        self.tracker
            .handle_authenticated(now, id, &name, Route::Direct)?;
        while lines.next_line().await?.is_some() {}
        Ok(())
    }

    fn closed(&self, id: ConnectionId, closing: Closing, detail: Option<Detail>) {
        // Both ends may close it at once; the first report counts.
        let _ = self
            .tracker
            .handle_closed(Instant::now(), id, closing, detail);
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, HashMap<ConnectionId, AbortHandle>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects, says its name, and leaves.
async fn sail(name: &str, harbour: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(harbour).await?;
    stream
        .write_all(format!("{name}\nahoy\n").as_bytes())
        .await?;
    stream.shutdown().await
}
