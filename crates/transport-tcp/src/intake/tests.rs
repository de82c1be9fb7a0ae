use std::task::Waker;

use super::*;
use crate::header::WINDOW_UPDATE;

/// The two ends of an intake, with what they share.
struct Side {
    intake: Intake,
    ends: Arc<Ends>,
    unread: Arc<Unread>,
}

impl Side {
    fn new() -> Self {
        let (ends, unread) = (Arc::<Ends>::default(), Arc::<Unread>::default());
        Self {
            intake: Intake::new(ends.clone(), unread.clone()),
            ends,
            unread,
        }
    }

    /// What yamux gets of `wire`, which comes in pieces of at most `piece` bytes and then pauses.
    fn read(&mut self, wire: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        self.read_all(Wire {
            bytes: wire,
            piece,
            is_over: false,
        })
    }

    /// What yamux gets of a connection's last bytes.
    fn read_last(&mut self, wire: &[u8]) -> io::Result<Vec<u8>> {
        self.read_all(Wire {
            bytes: wire,
            piece: 100,
            is_over: true,
        })
    }

    fn read_all(&mut self, mut wire: Wire<'_>) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut pauses = 0;
        loop {
            let mut buf = [0; 100];
            match self.intake.poll_read(&mut cx, &mut wire, &mut buf) {
                Poll::Ready(Ok(0)) => return Ok(all),
                Poll::Ready(read) => all.extend_from_slice(&buf[..read?]),
                // It also pauses between its steps.
                Poll::Pending if wire.bytes.is_empty() && pauses > 0 => return Ok(all),
                Poll::Pending => pauses += 1,
            }
        }
    }
}

struct Wire<'a> {
    bytes: &'a [u8],
    piece: usize,
    is_over: bool,
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() && !self.is_over {
            return Poll::Pending;
        }
        let n = self.bytes.len().min(self.piece).min(buf.remaining());
        let (now, later) = self.bytes.split_at(n);
        buf.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

fn data(id: u32, flags: u8, body: &[u8]) -> Vec<u8> {
    let header = Header::new(DATA, flags, id, body.len() as u32);
    [&header.0[..], body].concat()
}

#[test]
fn an_end_is_told_from_a_reset_in_pieces_of_any_length() {
    let frames = [
        data(1, SYN, &[4; 14]),
        Header::new(WINDOW_UPDATE, SYN | FIN, 3, 200).0.to_vec(),
        Header::new(WINDOW_UPDATE, SYN, 5, 200).0.to_vec(),
        // What is no frame of a stream, though it has the bits.
        Header::new(2, SYN | FIN, 5, 0).0.to_vec(),
        data(1, FIN, &[]),
        data(5, RST, &[]),
        // A stream that nobody has.
        data(7, FIN, &[]),
    ];
    let frames = frames.concat();
    for piece in 1..frames.len() {
        let mut side = Side::new();
        assert_eq!(side.read(&frames, piece).unwrap(), frames);
        let ended = [1, 3, 5, 7].map(|id| side.ends.has_ended(id));
        assert_eq!(ended, [true, true, false, false], "pieces of {piece}");
    }
}

#[test]
fn an_end_counts_once_all_bytes_before_it_are_there() {
    let frame = data(1, SYN | FIN, &[4; 14]);
    let mut side = Side::new();
    side.read(&frame[..frame.len() - 1], 100).unwrap();
    assert!(!side.ends.has_ended(1));
    side.read(&frame[frame.len() - 1..], 100).unwrap();
    assert!(side.ends.has_ended(1));
}

#[test]
fn small_frames_are_joined_while_nobody_reads_and_passed_on_as_one_when_somebody_has() {
    let mut side = Side::new();
    let mut said = data(1, SYN, b"a");
    for byte in b"bcdefgh" {
        said.extend(data(1, 0, &[*byte]));
    }
    let few = said.clone();
    for byte in b"ijklmnop" {
        said.extend(data(1, 0, &[*byte]));
    }
    assert_eq!(side.read(&said, 100).unwrap(), few);
    assert!(side.unread.read(1, 1).is_due, "nothing is due");
    let rest = side.read(&[], 1).unwrap();
    assert_eq!(rest, data(1, 0, b"ijklmnop"));
}

#[test]
fn what_was_joined_goes_ahead_of_an_end_a_reset_and_the_end_of_the_connection() {
    let mut small = data(1, SYN, b"a");
    for _ in 0..20 {
        small.extend(data(1, 0, b"b"));
    }
    let passed = small[..13 * 8].to_vec();
    let joined = data(1, 0, &[b'b'; 13]);
    let ends = [
        data(1, FIN, &[]),
        data(1, RST, &[]),
        Header::new(WINDOW_UPDATE, FIN, 1, 0).0.to_vec(),
        Header::new(WINDOW_UPDATE, RST, 1, 0).0.to_vec(),
        Header::new(GO_AWAY, 0, 0, 0).0.to_vec(),
        Vec::new(),
    ];
    for end in ends {
        let said = [&small[..], &end].concat();
        let got = Side::new().read_last(&said).unwrap();
        assert_eq!(got, [&passed[..], &joined, &end].concat(), "{end:?}");
    }
}

#[test]
fn a_long_frame_goes_on_in_pieces_and_ends_with_the_last() {
    let body = [7; 2 * PIECE + 1];
    let got = Side::new().read(&data(1, SYN | FIN, &body), 999).unwrap();
    let pieces = [
        data(1, SYN, &body[..PIECE]),
        data(1, 0, &body[..PIECE]),
        data(1, FIN, &body[..1]),
    ];
    // Only the first piece begins the stream.
    assert_eq!(got, pieces.concat());
}

#[test]
fn a_frame_up_to_the_window_is_taken_and_one_byte_more_is_a_violation() {
    let window = 256 * 1024;
    let mut side = Side::new();
    side.read(&data(1, SYN, &vec![0; window]), 9999).unwrap();
    side.unread.grant(1, 3);
    side.read(&data(1, 0, &[0; 3]), 9999).unwrap();
    assert!(side.read(&data(1, 0, &[0]), 9999).is_err());
    assert!(side.intake.is_violated());

    let mut side = Side::new();
    let header = Header::new(DATA, SYN, 1, window as u32 + 1);
    assert!(side.read(&header.0, 9999).is_err());
}

#[test]
fn the_bytes_of_a_stream_that_is_dropped_or_ended_reach_nobody() {
    let mut side = Side::new();
    side.read(&data(1, SYN, b"abc"), 100).unwrap();
    assert!(side.unread.forget(1), "it holds unread bytes");
    let rest = [data(1, 0, &[0; 5000]), data(1, 2, b"d"), data(1, FIN, b"e")];
    let got = side.read(&rest.concat(), 100).unwrap();
    assert_eq!(got, [data(1, 2, &[]), data(1, FIN, &[])].concat());

    let mut side = Side::new();
    let said = [data(3, SYN | FIN, b"abc"), data(3, 0, b"d")].concat();
    assert_eq!(side.read(&said, 100).unwrap(), data(3, SYN | FIN, b"abc"));
}

#[test]
fn joined_bytes_go_on_in_pieces_that_yamux_takes() {
    let mut side = Side::new();
    let mut said = data(1, SYN, &[1; 1000]);
    for n in 2..=100 {
        said.extend(data(1, 0, &[n; 1000]));
    }
    let passed = side.read(&said, 9999).unwrap();
    assert!(side.unread.read(1, 8 * 1000).is_due);
    let got = [passed, side.read(&[], 1).unwrap()].concat();
    let (mut bodies, mut rest) = (Vec::new(), &got[..]);
    while !rest.is_empty() {
        let (header, behind) = rest.split_at(LENGTH);
        let length = Header(header.try_into().unwrap()).number() as usize;
        assert!(length <= PIECE);
        bodies.extend_from_slice(&behind[..length]);
        rest = &behind[length..];
    }
    let expected = (1..=100).flat_map(|n| [n; 1000]);
    assert!(bodies.into_iter().eq(expected));
}

#[test]
fn a_stream_that_is_dropped_within_a_long_frame_gets_no_further_piece() {
    let mut side = Side::new();
    let wire = data(1, SYN, &[7; 2 * PIECE]);
    // yamux expects one more byte of the first piece.
    let (first, rest) = wire.split_at(LENGTH + PIECE - 1);
    let got = side.read(first, 9999).unwrap();
    assert!(got[..] == data(1, SYN, &[7; PIECE])[..first.len()]);
    side.unread.forget(1);
    let ping = Header::new(2, 0, 0, 5).0;
    let got = side.read(&[rest, &ping].concat(), 9999).unwrap();
    assert_eq!(got, [&[7][..], &ping].concat());
}
