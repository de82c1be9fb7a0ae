//! A listening socket.

mod pauses;

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;

use self::pauses::Pauses;
use crate::{ByteStream, Keepalive, ListenConfig, ListenError, dialers::direct::tune};

/// The number of free descriptors after which a paused listener accepts again.
const FREE_DESCRIPTORS: usize = 8;

/// A listening TCP socket.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    nodelay: bool,
    keepalive: Option<Keepalive>,
    exhausted_pause: Duration,
    pauses: Mutex<Pauses>,
}

impl Listener {
    /// Binds and listens. Call this within a tokio runtime.
    ///
    /// SO_REUSEADDR is set, so that a restarted process gets its port back while old connections are in TIME_WAIT. An
    /// IPv6 socket accepts only IPv6, so that an IPv4 socket can have the same port.
    pub fn bind(address: SocketAddr, config: &ListenConfig) -> Result<Self, ListenError> {
        let failed = |stage| {
            move |source| ListenError {
                address,
                stage,
                source,
            }
        };
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )
        .map_err(failed("socket"))?;
        socket
            .set_nonblocking(true)
            .map_err(failed("nonblocking"))?;
        if address.is_ipv6() {
            socket.set_only_v6(true).map_err(failed("ipv6 only"))?;
        }
        // On Windows the option lets another process take the port.
        if cfg!(unix) {
            socket
                .set_reuse_address(true)
                .map_err(failed("reuse address"))?;
        }
        socket.bind(&address.into()).map_err(failed("bind"))?;
        let backlog = i32::try_from(config.backlog).unwrap_or(i32::MAX);
        socket.listen(backlog).map_err(failed("listen"))?;
        let inner = TcpListener::from_std(socket.into()).map_err(failed("register"))?;
        Ok(Self {
            inner,
            nodelay: config.nodelay,
            keepalive: config.keepalive,
            exhausted_pause: config.exhausted_pause,
            pauses: Mutex::default(),
        })
    }

    /// The address on which it listens. If port 0 was requested, the address contains the port that the kernel chose.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The next connection. Cancel-safe: dropping the future loses no connection.
    ///
    /// Skips a connection that was closed before it was accepted. Pauses while the process has no free file descriptor
    /// or memory, and accepts again when 8 descriptors are free. One log line per minute states the number of pauses. A
    /// returned error is permanent.
    pub async fn accept(&self) -> io::Result<(ByteStream, SocketAddr)> {
        loop {
            match self.inner.accept().await {
                Ok((socket, from)) => {
                    // A socket that was reset meanwhile takes no options.
                    match tune(&SockRef::from(&socket), self.nodelay, self.keepalive) {
                        Ok(()) => return Ok((socket.into(), from)),
                        Err(error) => {
                            tracing::debug!(%from, %error, "the connection was lost before it was accepted")
                        }
                    }
                }
                Err(error) => match verdict(&error) {
                    Verdict::Next => {}
                    Verdict::Pause => {
                        self.warn(&error);
                        self.pause().await;
                    }
                    Verdict::Fatal => return Err(error),
                },
            }
        }
    }

    /// Waits until the process has some free descriptors. The first ones that become free are for other tasks, which may
    /// have given them up for a moment only.
    async fn pause(&self) {
        loop {
            tokio::time::sleep(self.exhausted_pause).await;
            let listener = SockRef::from(&self.inner);
            let mut copies = std::iter::repeat_with(|| listener.try_clone());
            let free: io::Result<Vec<_>> = copies.by_ref().take(FREE_DESCRIPTORS).collect();
            if free.is_ok() {
                return;
            }
        }
    }

    fn warn(&self, error: &io::Error) {
        let now = tokio::time::Instant::now().into_std();
        let mut noted = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pauses) = noted.note(now) else {
            return;
        };
        drop(noted);
        let address = self.local_addr().ok();
        tracing::warn!(
            address = address.map(tracing::field::display),
            %error,
            pauses,
            "this process is out of resources: the listener pauses before it accepts further connections"
        );
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Next,
    Pause,
    Fatal,
}

/// accept(2) hands on errors of the connection that is being accepted; those say nothing of the listener.
fn verdict(error: &io::Error) -> Verdict {
    use io::ErrorKind as Kind;
    match error.kind() {
        // EINVAL: this is no listening socket any more.
        Kind::InvalidInput => Verdict::Fatal,
        Kind::ConnectionAborted
        | Kind::ConnectionReset
        | Kind::ConnectionRefused
        | Kind::Interrupted
        | Kind::TimedOut
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::NetworkDown
        | Kind::PermissionDenied => Verdict::Next,
        _ => Verdict::Pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_one_connection_does_not_end_the_listener() {
        let verdict = |code| verdict(&io::Error::from_raw_os_error(code));
        // Linux: ECONNABORTED, EPERM, EHOSTUNREACH, EINTR
        for code in [103, 1, 113, 4] {
            assert_eq!(verdict(code), Verdict::Next, "error {code}");
        }
        // EMFILE, ENFILE, ENOMEM, ENOBUFS
        for code in [24, 23, 12, 105] {
            assert_eq!(verdict(code), Verdict::Pause, "error {code}");
        }
        assert_eq!(verdict(22), Verdict::Fatal, "EINVAL");
    }
}
