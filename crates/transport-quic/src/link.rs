//! The part of a connection that its handles, its streams and its endpoint share, and the closing
//! of a connection.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures::future::join_all;
use quinn::{SendStream, StoppedError};
use tokio::{runtime, time::timeout};

use crate::{
    close_code::CloseCode,
    error::CloseReason,
    finished::{Delivery, Finished},
    flag::Flag,
};

/// The links of one endpoint that exist, for closing them all.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<BTreeMap<usize, Weak<Link>>>);

impl Links {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Weak<Link>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.lock().values().filter_map(Weak::upgrade).collect()
    }
}

/// One connection, until nothing is left to be delivered on it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) quinn: quinn::Connection,
    finished: Mutex<Finished>,
    /// Raised when this side has begun to close.
    pub(crate) closing: Flag,
    close_timeout: Duration,
    runtime: runtime::Handle,
    links: Arc<Links>,
}

/// What connection handles and streams hold: with the last of them the link is closed.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) link: Arc<Link>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.close(CloseCode::NONE, "");
    }
}

impl Handle {
    /// Registers `quinn` with its endpoint's `links`.
    pub(crate) fn new(
        quinn: quinn::Connection,
        close_timeout: Duration,
        runtime: runtime::Handle,
        links: Arc<Links>,
    ) -> Arc<Self> {
        let id = quinn.stable_id();
        let link = Arc::new(Link {
            quinn,
            finished: Mutex::default(),
            closing: Flag::default(),
            close_timeout,
            runtime,
            links,
        });
        link.links.lock().insert(id, Arc::downgrade(&link));
        Arc::new(Self { link })
    }
}

impl Link {
    fn finished(&self) -> MutexGuard<'_, Finished> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a finished sending side until it is delivered.
    pub(crate) fn keep(&self, send: SendStream) {
        self.finished().insert(send);
    }

    /// The user has dropped a stream that is kept.
    pub(crate) fn release(&self, stream: u64) {
        self.finished().release(stream);
    }

    /// Gives up a stream that is kept.
    pub(crate) fn reset(&self, stream: u64, code: CloseCode) {
        self.finished().reset(stream, code.on_wire());
    }

    /// Waits until a stream that is kept is acknowledged.
    pub(crate) async fn delivered(&self, stream: u64) -> io::Result<()> {
        let delivery = self.finished().delivery(stream);
        let Some(delivery) = delivery else {
            return Err(lost(io::ErrorKind::NotConnected, "the stream was reset"));
        };
        match delivery.await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(lost(
                io::ErrorKind::ConnectionReset,
                format!(
                    "the peer stopped reading with code {:#x}",
                    code.into_inner()
                ),
            )),
            Err(StoppedError::ConnectionLost(error)) => {
                Err(lost(io::ErrorKind::NotConnected, self.reason(error)))
            }
            Err(StoppedError::ZeroRttRejected) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Closes when everything finished is delivered, at the latest after the close timeout.
    pub(crate) fn close(self: &Arc<Self>, code: CloseCode, reason: &str) {
        if !self.closing.raise() {
            return;
        }
        let deliveries = self.finished().deliveries();
        if deliveries.is_empty() || self.is_closed() {
            return self.end(code, reason);
        }
        let (link, reason) = (Arc::clone(self), reason.to_owned());
        self.runtime.spawn(async move {
            link.deliver(deliveries).await;
            link.end(code, &reason);
        });
    }

    async fn deliver(&self, deliveries: Vec<Delivery>) {
        // What is not acknowledged by then is lost, as documented.
        let _ = timeout(self.close_timeout, join_all(deliveries)).await;
    }

    /// Closes at once.
    pub(crate) fn abort(&self, code: CloseCode, reason: &str) {
        self.closing.raise();
        self.end(code, reason);
    }

    fn end(&self, code: CloseCode, reason: &str) {
        // quinn would forget how the connection ended before.
        if !self.is_closed() {
            self.quinn.close(code.on_wire(), reason.as_bytes());
        }
    }

    /// How the connection ended, by quinn's account. When its endpoint fails, quinn says that
    /// this side closed it.
    pub(crate) fn reason(&self, error: quinn::ConnectionError) -> CloseReason {
        match CloseReason::of(error) {
            CloseReason::Local if !self.closing.is_raised() => CloseReason::SocketFailed,
            reason => reason,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.quinn.close_reason().is_some()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.links.lock().remove(&self.quinn.stable_id());
    }
}

fn lost(
    kind: io::ErrorKind,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> io::Error {
    io::Error::new(kind, source)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libp2p_identity::Keypair;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use crate::{Config, Endpoint};

    #[tokio::test]
    async fn of_a_thousand_delivered_streams_and_a_closed_connection_nothing_is_kept() {
        let local = "127.0.0.1:0".parse().unwrap();
        let bind = || Endpoint::bind(local, &Keypair::generate_ed25519(), Config::default());
        let (dialer, listener) = (bind().unwrap(), bind().unwrap());
        let to = listener.local_addr().unwrap();
        let (dialed, accepted) = tokio::join!(dialer.dial(to, None), async {
            listener.accept().await.unwrap().accept().await
        });
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        let reading = tokio::spawn(async move {
            for _ in 0..1000 {
                let mut stream = accepted.accept().await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.unwrap();
            }
            accepted
        });
        for _ in 0..1000 {
            let mut stream = dialed.open().await.unwrap();
            stream.write_all(b"one of many").await.unwrap();
            stream.shutdown().await.unwrap();
            stream.wait_delivered().await.unwrap();
        }
        let accepted = reading.await.unwrap();
        assert_eq!(dialed.link().finished().len(), 0);
        assert_eq!(dialer.context.links.all().len(), 1);
        drop(dialed);
        drop(accepted);
        while dialer.open_connections() + listener.open_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(dialer.context.links.all().len(), 0);
        assert_eq!(listener.context.links.all().len(), 0);
    }
}
