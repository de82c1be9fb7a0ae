//! What goes over the wire at the bounds, when a peer misbehaves, and at the end.

use futures::io::{AsyncRead as _, AsyncWrite as _};

use super::super::*;
use crate::{
    header::{FIN, SYN},
    test_io::{TestIo, cx},
    unread::{Fate, WINDOW},
};

/// A connection whose peer sends these pieces.
fn over<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Coalesce<TestIo> {
    Coalesce::new(TestIo::new(pieces), Arc::default(), Arc::default())
}

fn write(io: &mut Coalesce<TestIo>, bytes: &[u8]) -> Poll<usize> {
    let written = Pin::new(io).poll_write(&mut cx(), bytes);
    written.map(Result::unwrap)
}

fn read(io: &mut Coalesce<TestIo>) -> Poll<Result<usize, io::ErrorKind>> {
    let read = Pin::new(io).poll_read(&mut cx(), &mut [0; 64]);
    read.map(|read| read.map_err(|error| error.kind()))
}

fn close(io: &mut Coalesce<TestIo>) -> Poll<()> {
    let closed = Pin::new(io).poll_close(&mut cx());
    closed.map(|closed| closed.unwrap())
}

#[test]
fn as_many_small_pieces_wait_as_there_is_room_for_to_the_byte() {
    let mut io = over([]);
    io.io.room = 0;
    let head = Header::new(DATA, 0, 1, 100_000).0;
    assert!(write(&mut io, &head).is_ready());
    for _ in 0..STASH / SMALL - 1 {
        assert_eq!(write(&mut io, &[7; SMALL]), Poll::Ready(SMALL));
    }
    let rest = SMALL - LENGTH;
    assert!(write(&mut io, &[7; SMALL]).is_pending(), "12 too many");
    assert_eq!(write(&mut io, &vec![7; rest]), Poll::Ready(rest));
    assert!(write(&mut io, &[7]).is_pending(), "one too many");
    assert_eq!(io.stash.len(), STASH);
}

#[test]
fn a_large_piece_of_which_nothing_fits_behind_what_waited_is_not_taken() {
    let mut io = over([]);
    let head = Header::new(DATA, 0, 1, 4000).0;
    assert!(write(&mut io, &head).is_ready());
    // There is room for what waits, and for nothing more.
    io.io.room = LENGTH;
    assert!(write(&mut io, &[7; 4000]).is_pending());
    assert_eq!(io.io.writes, [head]);
    io.io.room = usize::MAX;
    assert_eq!(write(&mut io, &[7; 4000]), Poll::Ready(4000));
    assert_eq!(io.io.writes.concat(), [&head[..], &[7; 4000]].concat());
}

#[test]
fn a_body_that_looks_like_a_header_is_sent_as_it_is() {
    let mut io = over([]);
    // As a frame, this would be an end that nobody asked for, and go out as a reset.
    let body = Header::new(DATA, FIN, 1, 0).0;
    let head = Header::new(DATA, SYN, 1, LENGTH as u32).0;
    assert!(write(&mut io, &head).is_ready());
    assert!(write(&mut io, &body).is_ready());
    assert!(close(&mut io).is_pending());
    assert_eq!(io.io.writes.concat(), [head, body].concat());
}

#[test]
fn credit_that_goes_out_counts_for_the_stream_that_it_names() {
    for (credit, fits) in [(4, false), (5, true)] {
        let mut io = over([]);
        io.unread.open(1);
        io.unread.open(3);
        assert!(matches!(io.unread.frame(1, WINDOW), Ok(Fate::Pass)));
        assert!(matches!(io.unread.frame(3, WINDOW), Ok(Fate::Pass)));
        assert!(write(&mut io, &Header::new(WINDOW_UPDATE, 0, 1, credit).0).is_ready());
        assert_eq!(io.unread.frame(1, 5).is_ok(), fits);
        assert!(io.unread.frame(3, 1).is_err(), "it was for another stream");
    }
}

/// More than the peer was given credit for.
fn violation() -> Vec<u8> {
    let open = Header::new(DATA, SYN, 2, WINDOW as u32 + 1);
    open.0.to_vec()
}

#[test]
fn a_peer_that_sends_beyond_its_credit_is_told_so_and_not_read_any_more() {
    let frames = violation();
    let mut io = over([&frames[..], &frames]);
    assert_eq!(read(&mut io), Poll::Ready(Err(io::ErrorKind::InvalidData)));
    // A go-away of the whole connection, with the code of a protocol error.
    assert_eq!(io.io.writes, [[0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]);
    assert_eq!(read(&mut io), Poll::Ready(Err(io::ErrorKind::InvalidData)));
    assert_eq!((io.io.reads.len(), io.io.writes.len()), (1, 1));
}

#[test]
fn the_reproach_does_not_go_into_the_middle_of_a_frame() {
    let frames = violation();
    let mut io = over([&frames[..]]);
    let head = Header::new(DATA, 0, 1, 100).0;
    assert!(write(&mut io, &head).is_ready());
    assert!(write(&mut io, &[7; 50]).is_ready());
    assert_eq!(read(&mut io), Poll::Ready(Err(io::ErrorKind::InvalidData)));
    assert!(io.io.writes.concat().len() <= LENGTH + 50);
    assert!(io.condemned);
}

#[test]
fn a_peer_that_breaks_off_is_not_reproached() {
    let mut io = over([&[0, 0, 0][..], b""]);
    assert_eq!(
        read(&mut io),
        Poll::Ready(Err(io::ErrorKind::UnexpectedEof))
    );
    assert!(io.io.writes.is_empty() && !io.condemned);
}

#[test]
fn a_close_sends_what_waits_and_then_reads_until_the_peer_has_closed() {
    let mut io = over([&[1; 3000][..]]);
    let ping = Header::new(2, 0, 0, 1).0;
    assert!(write(&mut io, &ping).is_ready());
    io.io.room = 5;
    assert!(close(&mut io).is_pending());
    assert_eq!((io.io.shutdowns, io.io.reads.len()), (0, 0));
    io.io.room = usize::MAX;
    assert!(close(&mut io).is_pending(), "the peer has not closed");
    assert_eq!((io.io.writes.concat(), io.io.shutdowns), (ping.to_vec(), 1));
    assert!(io.io.pieces.is_empty(), "what comes late is read");
    io.io.pieces.push_back(Vec::new());
    assert!(close(&mut io).is_ready());
    assert_eq!(io.io.shutdowns, 1);
}

#[test]
fn an_end_that_waits_for_room_is_looked_at_once() {
    for (waiting, fits) in [(STASH - LENGTH, true), (STASH - LENGTH + 1, false)] {
        let mut io = over([]);
        io.io.room = 0;
        let head = Header::new(DATA, 0, 1, 100_000).0;
        assert!(write(&mut io, &head).is_ready());
        let mut left = waiting - LENGTH;
        while left > 0 {
            let n = left.min(SMALL);
            assert!(write(&mut io, &vec![7; n]).is_ready());
            left -= n;
        }
        io.body = 0;
        // This side ends the stream. Nobody asks for it twice.
        io.ends.end(1);
        let end = Header::new(DATA, FIN, 1, 0).0;
        assert_eq!(write(&mut io, &end).is_ready(), fits);
        io.io.room = usize::MAX;
        if !fits {
            assert_eq!(write(&mut io, &end), Poll::Ready(LENGTH));
        }
        assert!(close(&mut io).is_pending());
        assert!(io.io.writes.concat().ends_with(&end), "it is no reset");
    }
    let mut io = over([]);
    assert!(write(&mut io, &Header::new(DATA, FIN, 1, 0).0).is_ready());
    assert!(close(&mut io).is_pending());
    let reset = Header::new(DATA, crate::header::RST, 1, 0).0;
    assert_eq!(io.io.writes.concat(), reset, "nobody asked for an end");
}
