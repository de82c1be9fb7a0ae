//! The task of a connection. It polls the muxer and passes streams to callers, and decides nothing.
//!
//! Backpressure: inbound streams wait in a bounded queue, and further streams are reset. Requests for outbound streams
//! are answered one by one, as the peer acknowledges earlier streams. Cancel-safety: a stream is either in the queue or
//! with its caller, so dropping the future of `accept` or `open` loses no stream.

mod lease;

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, oneshot},
    time::Sleep,
};

use crate::{
    CloseReason, StreamError, UpgradeConfig, coalesce::Coalesce, ends::Ends, security::End,
    unread::Unread,
};

pub(crate) use lease::Lease;
use lease::Place;

/// The largest body of a frame that we send: with its header of 12 bytes it fills two TLS records.
///
/// Measured over loopback, yamux's own 16 KiB and anything from 64 KiB up cost more CPU a byte, by a
/// tenth over TLS and a fifth over Noise: the former in headers, the latter in cache misses, and
/// in a receiver that waits for a whole message before it can begin.
const SPLIT: usize = 2 * 16 * 1024 - 12;

type Muxer<S> = yamux::Connection<Coalesce<S>>;
type OpenReply = oneshot::Sender<Result<Lease, StreamError>>;

/// What the handles and the driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the driver.
    driver: AtomicWaker,
    /// Told once for each stream that arrives, and to all when none will any more.
    pub(crate) arrived: Notify,
    /// Told to all once the driver has ended.
    pub(crate) ended: Notify,
    ends: Arc<Ends>,
    unread: Arc<Unread>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    streams: usize,
    inbound: usize,
    pending: usize,
    close_timeout: Duration,
}

#[derive(Debug, Default)]
struct State {
    arrivals: VecDeque<yamux::Stream>,
    openers: VecDeque<OpenReply>,
    inbound: usize,
    outbound: usize,
    wish: Wish,
    /// Whether a graceful close has begun: no stream gives or takes another byte.
    closing: bool,
    /// Whether a graceful close took too long and was cut short.
    cut_short: bool,
    closed: Option<CloseReason>,
    /// Who waits on which stream. yamux forgets them when this side closes.
    waiting: BTreeMap<u32, Arc<Waiting>>,
}

/// The tasks that wait to read from and to write to a stream.
#[derive(Debug, Default)]
struct Waiting {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

/// One direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Read,
    Write,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    #[default]
    Run,
    Close,
    Abort,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wish(&self, wish: Wish) {
        let mut state = self.lock();
        state.wish = state.wish.max(wish);
        drop(state);
        self.driver.wake();
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    pub(crate) async fn wait_closed(&self) -> CloseReason {
        loop {
            let ended = self.ended.notified();
            if let Some(reason) = self.closed() {
                return reason;
            }
            ended.await;
        }
    }

    /// Why the streams are over: as soon as this side closes, which is before the connection has ended.
    pub(crate) fn over(&self) -> Option<CloseReason> {
        let state = self.lock();
        let closing = state.closing.then_some(CloseReason::Local);
        state.closed.clone().or(closing)
    }

    /// Whether what was finished before the connection ended has been delivered, as far as this side can tell.
    pub(crate) fn closed_in_order(&self) -> bool {
        let state = self.lock();
        let orderly = matches!(state.closed, Some(CloseReason::Local | CloseReason::Remote));
        orderly && !state.cut_short
    }

    /// How many bytes the connection has received.
    pub(crate) fn received(&self) -> u64 {
        self.ends.received()
    }

    /// Asks for a stream. The answer comes by the channel, at the latest when the connection ends.
    pub(crate) fn request(&self) -> oneshot::Receiver<Result<Lease, StreamError>> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            let refusal = Err(StreamError::Closed(reason.clone()));
            drop(reply.send(refusal));
        } else if state.wish > Wish::Run {
            drop(reply.send(Err(StreamError::Closed(CloseReason::Local))));
        } else {
            state.openers.push_back(reply);
            drop(state);
            self.driver.wake();
        }
        answer
    }

    /// The oldest stream that arrived.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Lease> {
        let stream = self.lock().arrivals.pop_front()?;
        Some(self.lease(stream, true))
    }

    fn lease(self: &Arc<Self>, stream: yamux::Stream, inbound: bool) -> Lease {
        let id = stream.id().val();
        let waiting = Arc::<Waiting>::default();
        self.lock().waiting.insert(id, waiting.clone());
        if !inbound {
            self.ends.open(id);
            self.unread.open(id);
        }
        let place = Place {
            shared: self.clone(),
            id,
            inbound,
        };
        Lease::new(stream, waiting, place)
    }

    fn arrive(&self, mut stream: yamux::Stream) {
        let mut state = self.lock();
        let full = state.inbound >= self.limits.inbound
            || state.inbound + state.outbound >= self.limits.streams
            || state.arrivals.len() >= self.limits.pending;
        if full {
            drop(state);
            tracing::debug!(id = %stream.id(), "over the limit, stream reset");
            self.discard(&mut stream);
            return;
        }
        state.inbound += 1;
        state.arrivals.push_back(stream);
        drop(state);
        self.arrived.notify_one();
    }

    /// Whether an outbound stream may be had now; answers openers that must be refused.
    fn next_opener(&self) -> Option<OpenReply> {
        let mut state = self.lock();
        loop {
            let reply = state.openers.pop_front()?;
            if reply.is_closed() {
                continue;
            }
            if state.inbound + state.outbound < self.limits.streams {
                return Some(reply);
            }
            let limit = self.limits.streams;
            drop(reply.send(Err(StreamError::TooMany { limit })));
        }
    }

    /// A graceful close begins.
    fn begin_close(&self) {
        self.lock().closing = true;
        self.end_streams(CloseReason::Local);
    }

    fn finish(&self, reason: CloseReason) {
        {
            let mut state = self.lock();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(reason.clone());
        }
        self.end_streams(reason);
        self.ends.finish();
        self.unread.finish();
        // A waker keeps the memory of its task, which a handle may outlive for long.
        drop(self.driver.take());
        self.ended.notify_waiters();
    }

    /// Wakes everyone who waits for a stream or on one.
    fn end_streams(&self, reason: CloseReason) {
        let mut state = self.lock();
        let openers = std::mem::take(&mut state.openers);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for reply in openers {
            drop(reply.send(Err(StreamError::Closed(reason.clone()))));
        }
        for stream in waiting.values() {
            stream.reader.wake();
            stream.writer.wake();
        }
        self.arrived.notify_waiters();
    }
}

/// Starts the task of a connection.
pub(crate) fn spawn<S>(stream: S, end: End, config: &UpgradeConfig) -> Arc<Shared>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut settings = yamux::Config::default();
    // In this order: each setter checks itself against the other value.
    settings.set_max_connection_receive_window(None);
    settings.set_max_num_streams(config.muxer_streams());
    settings.set_max_connection_receive_window(Some(config.max_receive_bytes()));
    settings.set_split_send_size(SPLIT);
    let mode = match end {
        End::Dialer => yamux::Mode::Client,
        End::Listener => yamux::Mode::Server,
    };
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        driver: AtomicWaker::new(),
        arrived: Notify::new(),
        ended: Notify::new(),
        ends: Arc::default(),
        unread: Arc::default(),
        limits: Limits {
            streams: config.max_streams,
            inbound: config.max_inbound_streams,
            pending: config.max_pending_inbound,
            close_timeout: config.close_timeout,
        },
    });
    let socket = Coalesce::new(stream, shared.ends.clone(), shared.unread.clone());
    tokio::spawn(Driver {
        muxer: Muxer::new(socket, settings, mode),
        shared: shared.clone(),
        opener: None,
        closing: None,
    });
    shared
}

struct Driver<S> {
    muxer: Muxer<S>,
    shared: Arc<Shared>,
    /// Waits for the peer to acknowledge earlier streams.
    opener: Option<OpenReply>,
    /// The deadline of a graceful close.
    closing: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Driver<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.shared.driver.register(cx.waker());
        let reason = ready!(this.poll_end(cx));
        this.shared.finish(reason);
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let wish = self.shared.lock().wish;
        match wish {
            Wish::Abort => return Poll::Ready(CloseReason::Aborted),
            Wish::Close => return self.poll_close(cx),
            Wish::Run => {}
        }
        loop {
            self.poll_open(cx);
            match ready!(self.muxer.poll_next_inbound(cx)) {
                Some(Ok(stream)) => self.shared.arrive(stream),
                Some(Err(error)) => return Poll::Ready(CloseReason::of_muxer(error)),
                None => return Poll::Ready(CloseReason::Remote),
            }
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) {
        loop {
            let waiting = self.opener.take().filter(|reply| !reply.is_closed());
            let Some(reply) = waiting.or_else(|| self.shared.next_opener()) else {
                return;
            };
            match self.muxer.poll_new_outbound(cx) {
                Poll::Ready(Ok(stream)) => {
                    self.shared.lock().outbound += 1;
                    drop(reply.send(Ok(self.shared.lease(stream, false))));
                }
                Poll::Ready(Err(error)) => {
                    let reason = CloseReason::of_muxer(error);
                    drop(reply.send(Err(StreamError::Closed(reason))));
                    return;
                }
                Poll::Pending => {
                    self.opener = Some(reply);
                    return;
                }
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let limit = self.shared.limits.close_timeout;
        let deadline = self.closing.get_or_insert_with(|| {
            self.shared.begin_close();
            Box::pin(tokio::time::sleep(limit))
        });
        if deadline.as_mut().poll(cx).is_ready() {
            self.shared.lock().cut_short = true;
            return Poll::Ready(CloseReason::Local);
        }
        match ready!(self.muxer.poll_close(cx)) {
            Ok(()) => {}
            // The connection broke while this side was closing it.
            Err(_) => self.shared.lock().cut_short = true,
        }
        Poll::Ready(CloseReason::Local)
    }
}

/// A runtime that shuts down drops its tasks: nobody must keep waiting for this one.
impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        self.shared.finish(CloseReason::Stopped);
    }
}
