//! The pump between a circuit's two streams.
//!
//! It holds one buffer a direction and reads into it only while it is less than half full: what one end does not take, the
//! other cannot send. An end that says it is done is done in that direction only. Dropping the future stops the pump, and loses what is
//! in the buffers.

use std::{
    fmt,
    future::{pending, poll_fn},
    io,
    ops::Range,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

/// What a circuit may carry, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpliceConfig {
    /// Bytes in each direction, to the byte. `None`: any number.
    pub data: Option<u64>,
    /// How long. `None`: without end.
    pub duration: Option<Duration>,
    /// Bytes of each of the two buffers. Default 32 KiB: two of yamux' frames of common size.
    pub buffer: usize,
}

impl Default for SpliceConfig {
    fn default() -> Self {
        Self {
            data: None,
            duration: None,
            buffer: 32 << 10,
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
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the source to the destination.
    There,
    /// From the destination to the source.
    Back,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::There => "to the destination",
            Self::Back => "to the source",
        })
    }
}

/// Counts what was handed on, while it is. To be read by whoever likes.
#[derive(Debug, Default)]
pub struct Meter {
    there: AtomicU64,
    back: AtomicU64,
}

impl Meter {
    /// Bytes that the other end's stream has taken.
    pub fn bytes(&self, way: Way) -> u64 {
        self.counter(way).load(Relaxed)
    }

    fn counter(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::There => &self.there,
            Way::Back => &self.back,
        }
    }
}

/// How a circuit ended. Unless it is [`SpliceEnd::Done`], the host resets both streams.
#[derive(Debug)]
#[non_exhaustive]
pub enum SpliceEnd {
    /// Both ends have said that they are done, and were told so of each other.
    Done,
    /// As much went this way as may, and there was more. Not a byte of that was handed on.
    Data {
        /// Which way.
        way: Way,
    },
    /// It was open for as long as it may be.
    Duration,
    /// A stream broke.
    Failed {
        /// What was going this way when it did.
        way: Way,
        /// Why.
        error: io::Error,
    },
}

/// Pumps until both ends are done, a limit is reached or a stream breaks.
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
    let mut there = Pump::new(Way::There, config, meter);
    let mut back = Pump::new(Way::Back, config, meter);
    let end = config
        .duration
        .and_then(|after| Instant::now().checked_add(after));
    let mut end = pin!(async {
        match end {
            Some(end) => sleep_until(end).await,
            None => pending().await,
        }
    });
    poll_fn(|cx| {
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(SpliceEnd::Duration);
        }
        // Both are polled: one that waits must not hold the other up.
        let forth = there.poll(cx, source, destination);
        if let Poll::Ready(Some(end)) = forth {
            return Poll::Ready(end);
        }
        match back.poll(cx, destination, source) {
            Poll::Ready(Some(end)) => Poll::Ready(end),
            Poll::Ready(None) if forth.is_ready() => Poll::Ready(SpliceEnd::Done),
            _ => Poll::Pending,
        }
    })
    .await
}

/// How often a pump goes round before it lets others have their turn.
const ROUNDS: usize = 32;

struct Pump<'a> {
    way: Way,
    buffer: Box<[u8]>,
    /// What of it is still to be written.
    filled: Range<usize>,
    /// How many bytes may still be read.
    left: u64,
    handed_on: &'a AtomicU64,
    unflushed: bool,
    /// Nothing more comes, for this reason where there is one.
    ended: Option<io::Result<()>>,
    done: bool,
}

impl<'a> Pump<'a> {
    fn new(way: Way, config: &SpliceConfig, meter: &'a Meter) -> Self {
        Self {
            way,
            buffer: vec![0; config.buffer.max(1)].into(),
            filled: 0..0,
            left: config.data.unwrap_or(u64::MAX),
            handed_on: meter.counter(way),
            unflushed: false,
            ended: None,
            done: false,
        }
    }

    /// `None`: this way is done.
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
                    let way = self.way;
                    return Poll::Ready(Some(SpliceEnd::Failed { way, error }));
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
        ready!(to.poll_shutdown(cx))?;
        self.done = true;
        Poll::Ready(Ok(None))
    }

    /// Streams make frames of what they are given. While little is held, what comes next joins it, lest short frames come
    /// of the ends of long ones. With nothing left, one more byte tells whether the end has come or the limit.
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
            let way = self.way;
            return Poll::Ready(Some(SpliceEnd::Data { way }));
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
        self.handed_on.fetch_add(written as u64, Relaxed);
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
