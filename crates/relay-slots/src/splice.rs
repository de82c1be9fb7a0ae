//! The pump between the two streams of a circuit.
//!
//! The pump holds one buffer per direction and reads into it only while it is less than half full, so that a slow receiver slows
//! its sender down. When one end finishes its direction, the other direction continues. Dropping the future stops the pump and
//! loses the bytes in the buffers.

use std::{
    future::{pending, poll_fn},
    io,
    ops::Range,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep, sleep_until},
};

use crate::meter::{Direction, Meter};

/// The limits of a circuit, and its buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpliceConfig {
    /// The maximum number of bytes in each direction, exact to the byte. `None`: unlimited.
    pub data: Option<u64>,
    /// How long the circuit may be open. `None`: unlimited.
    pub duration: Option<Duration>,
    /// The size of each of the two buffers, in bytes. Default 32 KiB, which holds two yamux frames of common size.
    pub buffer: usize,
    /// How long a stream may take to accept the end of its direction. Default 15 s.
    pub close: Duration,
}

impl Default for SpliceConfig {
    fn default() -> Self {
        Self {
            data: None,
            duration: None,
            buffer: 32 << 10,
            close: Duration::from_secs(15),
        }
    }
}

impl SpliceConfig {
    /// Sets [`Self::data`] and [`Self::duration`].
    pub fn with_limits(mut self, data: Option<u64>, duration: Option<Duration>) -> Self {
        (self.data, self.duration) = (data, duration);
        self
    }

    /// Sets [`Self::buffer`].
    pub fn with_buffer(mut self, bytes: usize) -> Self {
        self.buffer = bytes;
        self
    }

    /// Sets [`Self::close`].
    pub fn with_close(mut self, close: Duration) -> Self {
        self.close = close;
        self
    }
}

/// How a circuit ended. Reset both streams, except after [`SpliceEnd::Done`] and [`SpliceEnd::Closing`].
#[derive(Debug)]
#[non_exhaustive]
pub enum SpliceEnd {
    /// Both ends have finished, and each end was told that the other has finished.
    Done,
    /// The limit of bytes was reached in this direction, and more bytes arrived. The pump forwarded none of the further bytes.
    Data {
        /// The direction.
        direction: Direction,
    },
    /// The circuit was open for as long as its limit allows.
    Duration,
    /// A stream broke, or did not accept the end of its direction in time.
    Failed {
        /// The direction of the bytes at the time of the failure.
        direction: Direction,
        /// The cause.
        error: io::Error,
    },
    /// The relay shut down. The pump forwarded all bytes in its buffers, and told both ends that the circuit has ended.
    Closing,
    /// The circuit was cut: a connection that carried it was closed, or the relay shut down and could not wait any longer.
    Cut,
}

/// Pumps until both ends have finished, a limit is reached or a stream breaks.
pub async fn splice<S, D>(
    source: &mut S,
    destination: &mut D,
    config: &SpliceConfig,
    meter: &Meter,
) -> SpliceEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    splice_until(source, destination, config, meter, pending()).await
}

/// As [`splice`]. When `closing` is ready, the pump reads no more: it hands on what it holds and ends both directions.
pub(crate) async fn splice_until<S, D>(
    source: &mut S,
    destination: &mut D,
    config: &SpliceConfig,
    meter: &Meter,
    closing: impl Future<Output = ()>,
) -> SpliceEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    let mut there = Pump::new(Direction::ToDestination, config, meter);
    let mut back = Pump::new(Direction::ToSource, config, meter);
    let end = config
        .duration
        .and_then(|after| Instant::now().checked_add(after));
    let mut end = pin!(async {
        match end {
            Some(end) => sleep_until(end).await,
            None => pending().await,
        }
    });
    let (mut closing, mut is_closing) = (pin!(closing), false);
    poll_fn(|cx| {
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(SpliceEnd::Duration);
        }
        if !is_closing && closing.as_mut().poll(cx).is_ready() {
            is_closing = true;
            there.stop_reading();
            back.stop_reading();
        }
        // Both are polled: a direction that waits must not hold the other one up.
        let forth = there.poll(cx, source, destination);
        if let Poll::Ready(Some(end)) = forth {
            return Poll::Ready(end);
        }
        match back.poll(cx, destination, source) {
            Poll::Ready(Some(end)) => Poll::Ready(end),
            Poll::Ready(None) if forth.is_ready() && is_closing => Poll::Ready(SpliceEnd::Closing),
            Poll::Ready(None) if forth.is_ready() => Poll::Ready(SpliceEnd::Done),
            _ => Poll::Pending,
        }
    })
    .await
}

/// How many rounds a pump makes before it yields to other tasks.
const ROUNDS: usize = 32;

struct Pump<'a> {
    direction: Direction,
    buffer: Box<[u8]>,
    /// The part of the buffer that is not written yet.
    filled: Range<usize>,
    /// How many bytes may still be read.
    left: u64,
    meter: &'a Meter,
    unflushed: bool,
    /// Nothing more will be read: the sender has finished, or its stream broke.
    ended: Option<io::Result<()>>,
    done: bool,
    close: Duration,
    /// Runs while the receiver does not accept the end.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<'a> Pump<'a> {
    fn new(direction: Direction, config: &SpliceConfig, meter: &'a Meter) -> Self {
        Self {
            direction,
            buffer: vec![0; config.buffer.max(1)].into(),
            filled: 0..0,
            left: config.data.unwrap_or(u64::MAX),
            meter,
            unflushed: false,
            ended: None,
            done: false,
            close: config.close,
            deadline: None,
        }
    }

    fn stop_reading(&mut self) {
        self.ended.get_or_insert(Ok(()));
    }

    /// `None`: this direction is done.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Option<SpliceEnd>> {
        for _ in 0..ROUNDS {
            if self.done {
                return Poll::Ready(None);
            }
            match ready!(self.poll_round(cx, Pin::new(from), Pin::new(to))) {
                Ok(None) => {}
                Ok(Some(end)) => return Poll::Ready(Some(end)),
                Err(error) => {
                    let direction = self.direction;
                    return Poll::Ready(Some(SpliceEnd::Failed { direction, error }));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_round(
        &mut self,
        cx: &mut Context<'_>,
        from: Pin<&mut impl AsyncRead>,
        to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<Option<SpliceEnd>>> {
        if self.wants_more() {
            if let Poll::Ready(end) = self.poll_fill(cx, from) {
                return Poll::Ready(Ok(end));
            }
            if self.filled.is_empty() {
                if self.unflushed {
                    ready!(to.poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
        if !self.filled.is_empty() {
            return self.poll_hand_on(cx, to).map_ok(|()| None);
        }
        if let Some(Err(_)) = self.ended {
            return Poll::Ready(self.ended.take().unwrap_or(Ok(())).map(|()| None));
        }
        ready!(self.poll_close(cx, to))?;
        self.done = true;
        Poll::Ready(Ok(None))
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = to.poll_shutdown(cx) {
            return Poll::Ready(closed);
        }
        let close = self.close;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(close)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// A muxer makes one frame of each write. While little is held, the next bytes join it, so that the end of a long frame
    /// does not become a short frame of its own. When the limit is used up, one further byte tells the end from an excess.
    fn wants_more(&self) -> bool {
        let little = self.filled.len() < self.buffer.len() / 2 && self.left > 0;
        self.ended.is_none() && (little || self.filled.is_empty())
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: Pin<&mut impl AsyncRead>,
    ) -> Poll<Option<SpliceEnd>> {
        self.buffer.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).max(1);
        let spare = &mut self.buffer[self.filled.end..];
        let room = room.min(spare.len());
        let mut spare = ReadBuf::new(&mut spare[..room]);
        if let Err(error) = ready!(from.poll_read(cx, &mut spare)) {
            self.ended = Some(Err(error));
            return Poll::Ready(None);
        }
        let length = spare.filled().len();
        if length == 0 {
            self.ended = Some(Ok(()));
        } else if self.left == 0 {
            let direction = self.direction;
            return Poll::Ready(Some(SpliceEnd::Data { direction }));
        }
        self.left -= (length as u64).min(self.left);
        self.filled.end += length;
        Poll::Ready(None)
    }

    fn poll_hand_on(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        let written = ready!(to.poll_write(cx, &self.buffer[self.filled.clone()]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.filled.start += written;
        self.meter.add(self.direction, written as u64);
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
