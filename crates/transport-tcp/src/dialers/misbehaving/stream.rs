//! One stream over a simulated bad network.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split,
    },
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Faults, Shared};
use crate::ByteStream;

/// The most bytes in one chunk.
const CHUNK: usize = 16 * 1024;

/// The number of chunks that may be in flight in one direction. A sender waits while this number is reached.
const IN_FLIGHT: usize = 256;

/// Applies the faults to `inner`. The returned stream is the dialer's end.
pub(super) fn misbehave(
    inner: ByteStream,
    faults: Faults,
    mut random: SmallRng,
    shared: Arc<Shared>,
) -> ByteStream {
    let peer = inner.peer();
    let mut choose = |range: Option<_>| range.map(|range| random.random_range(range));
    let (alive, near_end) = watch::channel(());
    let allowance = Allowance {
        left: Mutex::new(Left {
            until_cut: choose(faults.cut_after),
            until_stall: choose(faults.stall_after),
        }),
        cut: Notify::new(),
        near_end,
    };
    let seeds: [u64; 2] = [random.random(), random.random()];
    // From now on, and not from the first time that the task runs.
    let cuts = shared.cuts.subscribe();
    let (near, far) = duplex(CHUNK);
    let cut = Arc::new(AtomicBool::new(false));
    let near = Near {
        io: near,
        cut: Arc::clone(&cut),
        _alive: alive,
    };
    tokio::spawn(carry(inner, far, (cut, cuts), allowance, seeds, shared));
    ByteStream::boxed(near).with_peer(peer)
}

/// Carries the bytes of both directions until both directions have ended, or until the stream breaks or is cut.
async fn carry(
    inner: ByteStream,
    far: DuplexStream,
    (cut, mut cuts): (Arc<AtomicBool>, watch::Receiver<()>),
    allowance: Allowance,
    seeds: [u64; 2],
    shared: Arc<Shared>,
) {
    let (mut inner_reader, mut inner_writer) = split(inner);
    let (mut far_reader, mut far_writer) = split(far);
    let [out, back] = seeds.map(|seed| Direction {
        random: SmallRng::seed_from_u64(seed),
        allowance: &allowance,
        shared: &shared,
    });
    let both = async {
        tokio::try_join!(
            out.carry(&mut far_reader, &mut inner_writer),
            back.carry(&mut inner_reader, &mut far_writer),
        )
    };
    tokio::select! {
        outcome = both => match outcome {
            Ok(_) | Err(End::Dropped) => return,
            Err(End::Broken) => {}
        },
        () = allowance.cut.notified() => {}
        // The sender is in `shared`, so this completes only when the streams are cut.
        _ = cuts.changed() => {}
    }
    shared.state().counts.cut += 1;
    // The near end must see the flag before it sees the end of the pipe.
    cut.store(true, Ordering::Release);
    // Like a network that breaks, the far end gets a reset instead of the end of the stream, if it is a socket.
    let inner = inner_reader.unsplit(inner_writer);
    if let Some(socket) = inner.as_tcp() {
        let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
    }
}

/// The bytes that a stream may still carry, in both directions together.
struct Allowance {
    left: Mutex<Left>,
    cut: Notify,
    /// Closed when the dialer's end is dropped.
    near_end: watch::Receiver<()>,
}

struct Left {
    until_cut: Option<u64>,
    until_stall: Option<u64>,
}

/// The event after the last allowed byte.
enum Next {
    More,
    Stall,
    Cut,
}

impl Allowance {
    /// Takes up to `bytes` from the allowance.
    fn take(&self, bytes: usize) -> (usize, Next) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = bytes as u64;
        let until_cut = left.until_cut.unwrap_or(u64::MAX);
        let until_stall = left.until_stall.unwrap_or(u64::MAX);
        let taken = bytes.min(until_cut).min(until_stall);
        left.until_cut = left.until_cut.map(|left| left - taken);
        left.until_stall = left.until_stall.map(|left| left - taken);
        let next = if left.until_cut == Some(0) {
            Next::Cut
        } else if left.until_stall == Some(0) {
            Next::Stall
        } else {
            Next::More
        };
        // At most `bytes`, which was a usize.
        (taken as usize, next)
    }
}

/// Why a direction ends before its reader has reached the end of the stream.
enum End {
    /// The dialer's end was dropped, and nothing more can be delivered.
    Dropped,
    /// The inner stream broke.
    Broken,
}

/// One direction of a stream.
struct Direction<'a> {
    random: SmallRng,
    allowance: &'a Allowance,
    shared: &'a Shared,
}

/// Bytes, or the end of the stream, with the time when they arrive.
struct Parcel {
    due: Instant,
    bytes: Option<Bytes>,
}

impl Direction<'_> {
    async fn carry(
        self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), End> {
        let (allowance, shared) = (self.allowance, self.shared);
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let delivered = deliver(writer, receiver, allowance, shared);
        tokio::try_join!(self.send(reader, sender), delivered)?;
        Ok(())
    }

    /// Reads, and computes when the bytes arrive.
    async fn send(
        mut self,
        reader: &mut (impl AsyncRead + Unpin),
        sender: mpsc::Sender<Parcel>,
    ) -> Result<(), End> {
        let mut sent = Instant::now();
        let mut due = sent;
        loop {
            let faults = self.shared.state().faults.clone();
            let bandwidth = faults.bandwidth.map(|bandwidth| bandwidth.max(1));
            // At most the bytes that the bandwidth carries in 20 ms, so that bytes arrive evenly.
            let chunk = bandwidth.map_or(CHUNK, |rate| (rate as usize / 50).clamp(1, CHUNK));
            let mut bytes = BytesMut::zeroed(chunk);
            let read = reader.read(&mut bytes).await.map_err(|_| End::Broken)?;
            bytes.truncate(read);
            sent = sent.max(Instant::now());
            if let Some(bandwidth) = bandwidth {
                sent += Duration::from_secs_f64(read as f64 / f64::from(bandwidth));
            }
            due = due.max(sent + faults.latency(&mut self.random));
            let ended = read == 0;
            let bytes = (!ended).then(|| bytes.freeze());
            if sender.send(Parcel { due, bytes }).await.is_err() || ended {
                return Ok(());
            }
        }
    }
}

/// Writes each parcel when it is due.
async fn deliver(
    writer: &mut (impl AsyncWrite + Unpin),
    mut parcels: mpsc::Receiver<Parcel>,
    allowance: &Allowance,
    shared: &Shared,
) -> Result<(), End> {
    let mut near_end = allowance.near_end.clone();
    while let Some(Parcel { due, bytes }) = parcels.recv().await {
        sleep_until(due).await;
        tokio::select! {
            // First, because bytes that were sent before the dialer's end was dropped still arrive.
            biased;
            () = shared.moving() => {}
            _ = near_end.changed() => return Err(End::Dropped),
        }
        let Some(bytes) = bytes else {
            return writer.shutdown().await.map_err(|_| End::Broken);
        };
        let (taken, next) = allowance.take(bytes.len());
        let written = writer.write_all(&bytes[..taken]).await;
        if written.and(writer.flush().await).is_err() {
            // The dialer's end was dropped and reads no more. Its last bytes may still be in flight in the other direction.
            let dropped = near_end.has_changed().is_err();
            return if dropped { Ok(()) } else { Err(End::Broken) };
        }
        match next {
            Next::More => {}
            Next::Cut => allowance.cut.notify_one(),
            Next::Stall => {
                // The value never changes: this waits until the dialer's end is dropped.
                let _ = near_end.changed().await;
                return Err(End::Dropped);
            }
        }
    }
    Ok(())
}

/// The dialer's end of a stream. After a cut, its errors are those of a reset.
struct Near {
    io: DuplexStream,
    cut: Arc<AtomicBool>,
    /// Tells the carrying task that this end is dropped.
    _alive: watch::Sender<()>,
}

impl Near {
    fn check<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| self.error().unwrap_or(error))
    }

    fn error(&self) -> Option<io::Error> {
        let cut = self.cut.load(Ordering::Acquire);
        cut.then(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        let ended = buf.filled().len() == before && buf.remaining() > 0;
        if let (true, Some(error)) = (ended, self.error()) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_write(cx, buf));
        Poll::Ready(self.check(outcome))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_flush(cx));
        Poll::Ready(self.check(outcome))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
        Poll::Ready(self.check(outcome))
    }
}
