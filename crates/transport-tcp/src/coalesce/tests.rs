mod wire;

use std::task::Waker;

use futures::io::{AsyncRead as _, AsyncWrite as _};

use super::*;

/// Notes what is written, call by call, as far as it has room, and has always, or never, something
/// to read.
#[derive(Default)]
struct Io {
    writes: Vec<Vec<u8>>,
    room: usize,
    flushes: usize,
    talkative: bool,
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.talkative {
            return Poll::Pending;
        }
        let grant = header(WINDOW_UPDATE, 1);
        buf.put_slice(&grant[..buf.remaining().min(LENGTH)]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut all: Vec<u8> = bufs.iter().flat_map(|buf| buf.to_vec()).collect();
        all.truncate(this.room);
        if all.is_empty() {
            return Poll::Pending;
        }
        this.room -= all.len();
        let n = all.len();
        this.writes.push(all);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn over(talkative: bool, room: usize) -> Coalesce<Io> {
    let io = Io {
        talkative,
        room,
        ..Io::default()
    };
    Coalesce::new(io, Arc::default(), Arc::default())
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn write(io: &mut Coalesce<Io>, bytes: &[u8]) -> Poll<usize> {
    Pin::new(io)
        .poll_write(&mut cx(), bytes)
        .map(Result::unwrap)
}

fn read(io: &mut Coalesce<Io>) -> Poll<io::Result<usize>> {
    Pin::new(io).poll_read(&mut cx(), &mut [0; 64])
}

fn flush(io: &mut Coalesce<Io>) {
    assert!(Pin::new(io).poll_flush(&mut cx()).is_ready());
}

fn header(kind: u8, number: u32) -> Vec<u8> {
    [&[0, kind, 0, 0, 0, 0, 0, 1][..], &number.to_be_bytes()].concat()
}

#[test]
fn a_header_and_its_body_are_one_write() {
    let mut io = over(false, usize::MAX);
    let (head, body) = (header(DATA, 4000), vec![7; 4000]);
    assert_eq!(write(&mut io, &head), Poll::Ready(LENGTH));
    assert!(io.io.writes.is_empty());
    assert_eq!(write(&mut io, &body), Poll::Ready(4000));
    assert_eq!(io.io.writes, [[head, body].concat()]);
}

#[test]
fn small_frames_wait_for_a_flush_and_then_go_in_one_piece_once_there_is_nothing_to_read() {
    let mut io = over(false, usize::MAX);
    let ping = header(2, 1);
    for _ in 0..3 {
        assert!(write(&mut io, &ping).is_ready());
        flush(&mut io);
    }
    assert!(io.io.writes.is_empty());
    assert!(read(&mut io).is_pending());
    assert_eq!(io.io.writes, [ping.repeat(3)]);
    assert_eq!((io.io.flushes, io.stash.capacity()), (1, 0));
    assert!(read(&mut io).is_pending());
    assert_eq!(io.io.flushes, 1, "nothing was owed");
}

#[test]
fn a_peer_that_never_pauses_does_not_hold_back_a_flush_for_long() {
    let mut io = over(true, usize::MAX);
    assert!(write(&mut io, &header(2, 1)).is_ready());
    flush(&mut io);
    for _ in 0..READS_FIRST {
        assert!(read(&mut io).is_ready());
    }
    assert!(io.io.writes.is_empty());
    assert!(read(&mut io).is_ready());
    assert_eq!(io.io.writes.len(), 1);
}

#[test]
fn what_waits_is_bounded_and_keeps_its_order() {
    let mut io = over(false, 0);
    let mut taken = 0;
    while write(&mut io, &header(2, taken)).is_ready() {
        taken += 1;
    }
    assert_eq!(taken as usize, STASH / LENGTH);
    // The body of a frame neither overtakes what waits nor is taken in part.
    assert!(write(&mut io, &[7; 4000]).is_pending());
    io.io.room = 30;
    assert!(write(&mut io, &[7; 4000]).is_pending());
    io.io.room = usize::MAX;
    assert_eq!(write(&mut io, &[7; 4000]), Poll::Ready(4000));
    let all = io.io.writes.concat();
    let expected = (0..taken).flat_map(|n| header(2, n)).chain([7; 4000]);
    assert!(all.into_iter().eq(expected));
}

#[test]
fn a_body_cut_short_counts_what_was_taken_of_it() {
    let mut io = over(false, LENGTH + 1500);
    assert!(write(&mut io, &header(DATA, 4000)).is_ready());
    assert_eq!(write(&mut io, &[7; 4000]), Poll::Ready(1500));
    assert_eq!(io.body, 2500);
}

#[test]
fn after_a_go_away_with_a_reason_nothing_is_read_and_it_is_sent() {
    let mut io = over(true, usize::MAX);
    assert!(write(&mut io, &header(GO_AWAY, 1)).is_ready());
    flush(&mut io);
    let Poll::Ready(Err(error)) = read(&mut io) else {
        panic!("it is read on");
    };
    assert_eq!(error.to_string(), "the muxer refused a frame of the peer");
    assert_eq!(io.io.writes, [header(GO_AWAY, 1)]);
}

#[test]
fn a_go_away_without_a_reason_or_one_inside_a_body_condemns_nobody() {
    let mut io = over(true, usize::MAX);
    assert!(write(&mut io, &header(GO_AWAY, 0)).is_ready());
    assert!(write(&mut io, &header(DATA, LENGTH as u32)).is_ready());
    assert!(write(&mut io, &header(GO_AWAY, 1)).is_ready());
    assert!(matches!(read(&mut io), Poll::Ready(Ok(_))));
}
