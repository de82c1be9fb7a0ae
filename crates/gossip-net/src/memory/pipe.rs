//! A stream of bytes that arrive after a latency.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How many bytes are on their way at most, as with a flow-control window.
const WINDOW: usize = 256 << 10;

pub(super) struct Pipe {
    latency: Duration,
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    is_finished: bool,
    is_cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    pub(super) fn new(latency: Duration) -> Self {
        Self {
            latency,
            pieces: VecDeque::new(),
            bytes: 0,
            is_finished: false,
            is_cut: false,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

pub(super) struct Writer(Arc<Mutex<Pipe>>);

pub(super) struct Reader {
    pipe: Arc<Mutex<Pipe>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

pub(super) fn ends(pipe: Arc<Mutex<Pipe>>) -> (Writer, Reader) {
    let reader = Reader {
        pipe: pipe.clone(),
        sleep: None,
    };
    (Writer(pipe), reader)
}

/// Ends a pipe in both directions.
pub(super) fn cut(pipe: &Arc<Mutex<Pipe>>) {
    with(pipe, |pipe| {
        pipe.is_cut = true;
        pipe.wake();
    });
}

fn with<T>(pipe: &Arc<Mutex<Pipe>>, call: impl FnOnce(&mut Pipe) -> T) -> T {
    call(&mut pipe.lock().unwrap_or_else(PoisonError::into_inner))
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        with(&self.0, |pipe| {
            if pipe.is_cut {
                return Poll::Ready(Err(super::broken()));
            }
            let length = bytes.len().min(WINDOW - pipe.bytes);
            if length == 0 && !bytes.is_empty() {
                pipe.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            pipe.pieces
                .push_back((Instant::now() + pipe.latency, bytes[..length].to_vec()));
            pipe.bytes += length;
            pipe.wake();
            Poll::Ready(Ok(length))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        with(&self.0, |pipe| {
            pipe.is_finished = true;
            pipe.wake();
        });
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // As with QUIC, a stream that is dropped delivers what was written.
        with(&self.0, |pipe| {
            pipe.is_finished = true;
            pipe.wake();
        });
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let due = {
                let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
                if pipe.is_cut {
                    return Poll::Ready(Err(super::broken()));
                }
                let is_finished = pipe.is_finished;
                match pipe.pieces.front_mut() {
                    Some((due, piece)) if *due <= Instant::now() => {
                        let length = piece.len().min(buf.remaining());
                        buf.put_slice(&piece[..length]);
                        piece.drain(..length);
                        if piece.is_empty() {
                            pipe.pieces.pop_front();
                        }
                        pipe.bytes -= length;
                        pipe.wake();
                        return Poll::Ready(Ok(()));
                    }
                    Some((due, _)) => *due,
                    None if is_finished => return Poll::Ready(Ok(())),
                    None => {
                        pipe.reader = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                }
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            sleep.as_mut().reset(due);
            ready!(sleep.as_mut().poll(cx));
        }
    }
}
