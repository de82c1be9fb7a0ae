//! Accepts the connections of an admin listener, even if the process has no free file descriptor.
//!
//! A listener keeps [`RESERVE`] descriptors open. When the process has no free descriptor, the listener closes one of these, so
//! that a connection of the node's user can use it. After the last one, the listener pauses.

use std::{fs::File, io, time::Duration};

use conn_state::{Budget, Rate};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    time::{Instant, sleep},
};

/// The number of descriptors in reserve.
const RESERVE: usize = 4;

/// The pause after an error, so that the listener does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// The time between two log lines about pauses.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A socket that accepts connections.
pub(super) trait Socket: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection. Cancel-safe.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Socket for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Ok(Self::accept(self).await?.0)
    }
}

impl Socket for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<Self::Stream> {
        Ok(Self::accept(self).await?.0)
    }
}

/// A listener with a reserve of descriptors.
pub(super) struct Acceptor<S> {
    socket: S,
    reserve: Vec<File>,
    /// Limits the log lines about pauses.
    lines: Budget<()>,
    pauses: u64,
}

impl<S: Socket> Acceptor<S> {
    pub(super) fn new(socket: S) -> Self {
        let rate = Rate::new(1, LOG_INTERVAL);
        let mut acceptor = Self {
            socket,
            reserve: Vec::new(),
            lines: Budget::new(rate, rate, 1),
            pauses: 0,
        };
        acceptor.refill();
        acceptor
    }

    /// Waits for the next connection. Cancel-safe.
    pub(super) async fn accept(&mut self) -> S::Stream {
        loop {
            match self.socket.accept().await {
                Ok(stream) => return stream,
                Err(error) if is_of_one_connection(&error) => {}
                // A descriptor is free now. If another task takes it first, the listener closes the next one.
                Err(error) if is_out_of_descriptors(&error) && self.reserve.pop().is_some() => {}
                Err(error) => {
                    self.warn(&error);
                    sleep(PAUSE).await;
                    self.refill();
                }
            }
        }
    }

    /// Opens the closed descriptors of the reserve again, until the process has no free descriptor.
    pub(super) fn refill(&mut self) {
        while self.reserve.len() < RESERVE {
            let Ok(file) = File::open("/dev/null") else {
                return;
            };
            self.reserve.push(file);
        }
    }

    fn warn(&mut self, error: &io::Error) {
        self.pauses += 1;
        if self.lines.take(Instant::now().into_std(), ()).is_ok() {
            let pauses = std::mem::take(&mut self.pauses);
            tracing::warn!(%error, pauses, "the admin endpoint pauses before it accepts further connections");
        }
    }
}

/// Whether the process or the system has no free descriptor.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    let codes = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    codes
        .map(|code| Some(code.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// Whether the error concerns only the connection that accept(2) would have returned.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let kinds = [
        Kind::ConnectionAborted,
        Kind::ConnectionReset,
        Kind::ConnectionRefused,
    ];
    kinds.contains(&error.kind()) || error.kind() == Kind::Interrupted
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Returns these errors, the last one first, and then connections.
    #[derive(Clone)]
    struct Failing(Arc<Mutex<Vec<rustix::io::Errno>>>);

    impl Socket for Failing {
        type Stream = DuplexStream;

        async fn accept(&self) -> io::Result<DuplexStream> {
            match self.0.lock().unwrap().pop() {
                Some(error) => Err(error.into()),
                None => Ok(duplex(1).0),
            }
        }
    }

    /// The time until a connection is accepted, and the reserve afterwards.
    async fn after(errors: &[rustix::io::Errno]) -> (Duration, usize) {
        let errors = Arc::new(Mutex::new(errors.to_vec()));
        let mut acceptor = Acceptor::new(Failing(errors));
        assert_eq!(acceptor.reserve.len(), RESERVE);
        let begun = Instant::now();
        acceptor.accept().await;
        (begun.elapsed(), acceptor.reserve.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_without_descriptors_gives_up_its_reserve_at_once_and_then_pauses() {
        use rustix::io::Errno;
        for error in [Errno::MFILE, Errno::NFILE] {
            assert_eq!(after(&[error; 1]).await, (Duration::ZERO, RESERVE - 1));
            assert_eq!(after(&[error; RESERVE]).await, (Duration::ZERO, 0));
            let (took, reserve) = after(&[error; RESERVE + 1]).await;
            assert_eq!(
                (took, reserve),
                (PAUSE, RESERVE),
                "the pause refills the reserve"
            );
        }
        // A reserve is of no use against other errors.
        assert_eq!(after(&[Errno::NOMEM]).await, (PAUSE, RESERVE));
        assert_eq!(
            after(&[Errno::CONNABORTED; 9]).await,
            (Duration::ZERO, RESERVE)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_log_line_per_minute_tells_the_number_of_pauses() {
        let mut acceptor = Acceptor::new(Failing(Arc::default()));
        let mut counts = Vec::new();
        for _ in 0..1_201 {
            acceptor.warn(&io::Error::from(rustix::io::Errno::MFILE));
            if acceptor.pauses == 0 {
                counts.push(Instant::now());
            }
            tokio::time::advance(PAUSE).await;
        }
        let gaps: Vec<_> = counts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [LOG_INTERVAL; 2]);
    }
}
