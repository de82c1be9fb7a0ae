use std::io::ErrorKind;

use super::*;
use crate::{
    buffer::CAPACITY,
    test_io::{TestIo, flush, read, shutdown, write},
};

fn cipher() -> Cipher {
    Cipher::new(&[7; 32]).unwrap()
}

fn over(io: TestIo) -> NoiseStream<TestIo> {
    NoiseStream::new(io, cipher(), cipher(), Buffer::default())
}

/// The messages of a peer, each as it travels.
fn sealed(texts: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut sealer = cipher();
    let mut seal = |text: &&[u8]| {
        let mut message = [text, &[0; TAG][..]].concat();
        sealer.seal(&mut message).unwrap();
        let prefix = u16::try_from(message.len()).unwrap().to_be_bytes();
        [&prefix[..], &message].concat()
    };
    texts.iter().map(&mut seal).collect()
}

/// The lengths of the texts of the messages in `wire`.
fn texts(mut wire: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length - TAG);
        wire = &rest[length..];
    }
    lengths
}

/// What was written, as its reader gets it.
fn opened(writes: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = over(TestIo::new([&writes.concat()[..], b""]));
    let mut all = Vec::new();
    loop {
        match read(&mut stream, 70_000) {
            Poll::Ready(Ok(piece)) if piece.is_empty() => return all,
            Poll::Ready(Ok(piece)) => all.extend(piece),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn messages_that_came_together_are_read_with_one_read_of_the_socket() {
    let wire = sealed(&[b"one", b"", b"two", b"three"]).concat();
    let mut stream = over(TestIo::new([&wire[..]]));
    for text in ["one", "two", "three"] {
        assert_eq!(read(&mut stream, 100), Poll::Ready(Ok(text.into())));
    }
    assert!(read(&mut stream, 100).is_pending());
    assert_eq!(stream.io.reads.len(), 1);
}

#[test]
fn a_message_in_pieces_of_any_length_is_read_once_it_is_whole() {
    let wire = sealed(&[b"hello"]).concat();
    for piece in 1..=wire.len() {
        let mut stream = over(TestIo::new(wire.chunks(piece)));
        assert_eq!(read(&mut stream, 100), Poll::Ready(Ok(b"hello".to_vec())));
        assert!(read(&mut stream, 100).is_pending());
    }
}

#[test]
fn a_reader_with_less_room_than_the_text_gets_it_in_parts_and_then_the_next_message() {
    for most in 1..8 {
        let wire = sealed(&[b"hello", b"world"]).concat();
        let mut stream = over(TestIo::new([&wire[..]]));
        let mut all = Vec::new();
        while let Poll::Ready(piece) = read(&mut stream, most) {
            let piece = piece.unwrap();
            assert!(
                !piece.is_empty() && piece.len() <= most,
                "no end, no more than asked"
            );
            all.extend(piece);
        }
        assert_eq!(all, b"helloworld", "{most} at a time");
    }
}

#[test]
fn a_reader_without_room_reads_nothing_and_loses_nothing() {
    let wire = sealed(&[b"hello"]).concat();
    let mut stream = over(TestIo::new([&wire[..]]));
    assert_eq!(read(&mut stream, 0), Poll::Ready(Ok(Vec::new())));
    assert!(stream.io.reads.is_empty());
    assert_eq!(read(&mut stream, 3), Poll::Ready(Ok(b"hel".to_vec())));
    assert_eq!(read(&mut stream, 0), Poll::Ready(Ok(Vec::new())));
    assert_eq!(read(&mut stream, 3), Poll::Ready(Ok(b"lo".to_vec())));
}

#[test]
fn the_longest_message_is_read_into_a_buffer_of_its_size_and_into_a_smaller_one() {
    let text = vec![5; MAX_PLAIN];
    for most in [MAX_PLAIN, MAX_PLAIN - 1] {
        let wire = sealed(&[&text, b"next"]).concat();
        let mut stream = over(TestIo::new([&wire[..]]));
        assert_eq!(read(&mut stream, most), Poll::Ready(Ok(vec![5; most])));
        if most < MAX_PLAIN {
            assert_eq!(read(&mut stream, most), Poll::Ready(Ok(vec![5; 1])));
        }
        assert_eq!(read(&mut stream, most), Poll::Ready(Ok(b"next".to_vec())));
    }
}

#[test]
fn an_end_between_messages_is_an_end_and_one_within_a_message_is_an_error() {
    let wire = sealed(&[b"hello"]).concat();
    for cut in 0..=wire.len() {
        let pieces = [&wire[..cut], b""].into_iter();
        // An empty piece is an end by itself.
        let mut stream = over(TestIo::new(pieces.skip(usize::from(cut == 0))));
        if cut == wire.len() {
            assert_eq!(read(&mut stream, 9), Poll::Ready(Ok(b"hello".to_vec())));
        }
        let end = match cut == 0 || cut == wire.len() {
            true => Ok(Vec::new()),
            false => Err(ErrorKind::UnexpectedEof),
        };
        assert_eq!(read(&mut stream, 9), Poll::Ready(end), "after {cut} bytes");
    }
}

#[test]
fn after_a_message_that_does_not_open_nothing_is_read_any_more() {
    let genuine = sealed(&[b"hello"]).concat();
    let mut forged = genuine.clone();
    forged[3] ^= 1;
    let short = [0, TAG as u8 - 1].into_iter().chain([0; TAG - 1]).collect();
    for broken in [forged, short] {
        for most in [2, 100] {
            let mut stream = over(TestIo::new([&broken[..], &genuine]));
            for _ in 0..3 {
                let read = read(&mut stream, most);
                assert_eq!(read, Poll::Ready(Err(ErrorKind::InvalidData)));
            }
            assert_eq!(stream.io.reads.len(), 1);
            assert!(stream.incoming.buffer.is_empty());
        }
    }
}

#[test]
fn what_was_read_past_the_handshake_comes_first() {
    let wire = sealed(&[b"hello", b"world"]);
    let mut rest = Buffer::default();
    rest.spare(wire[0].len())[..wire[0].len()].copy_from_slice(&wire[0]);
    rest.add(wire[0].len());
    let mut stream = NoiseStream::new(TestIo::new([&wire[1][..]]), cipher(), cipher(), rest);
    assert_eq!(read(&mut stream, 9), Poll::Ready(Ok(b"hello".to_vec())));
    assert_eq!(read(&mut stream, 9), Poll::Ready(Ok(b"world".to_vec())));
}

#[test]
fn one_write_is_one_write_to_the_socket_with_as_few_messages_as_can_be() {
    for (length, messages) in [
        (1, vec![1]),
        (MAX_PLAIN, vec![MAX_PLAIN]),
        (MAX_PLAIN + 1, vec![MAX_PLAIN, 1]),
        (2 * MAX_PLAIN, vec![MAX_PLAIN, MAX_PLAIN]),
    ] {
        let mut stream = over(TestIo::new([]));
        let text = vec![9; length];
        assert_eq!(write(&mut stream, &[&text]), Poll::Ready(Ok(length)));
        assert_eq!(stream.io.writes.len(), 1);
        assert_eq!(texts(&stream.io.writes[0]), messages);
        assert_eq!(opened(&stream.io.writes), text);
        let one = Pin::new(&mut stream).poll_write(&mut crate::test_io::cx(), b"more");
        assert!(matches!(one, Poll::Ready(Ok(4))));
        assert_eq!(opened(&stream.io.writes), [&text[..], b"more"].concat());
    }
    let stream = over(TestIo::new([]));
    assert!(stream.is_write_vectored());
}

#[test]
fn more_than_two_messages_are_not_taken_at_once() {
    let mut stream = over(TestIo::new([]));
    let text = vec![9; 3 * MAX_PLAIN];
    assert_eq!(write(&mut stream, &[&text]), Poll::Ready(Ok(2 * MAX_PLAIN)));
    assert_eq!(stream.io.writes[0].len(), CAPACITY);
}

#[test]
fn a_message_is_begun_only_where_it_is_worth_its_tag() {
    // Room that the first piece leaves for the text of another message, and what is taken of the second piece.
    for (room, second, taken) in [
        (WORTHWHILE, 2000, WORTHWHILE),
        (WORTHWHILE - 1, 2000, 0),
        // It fits whole.
        (WORTHWHILE - 1, WORTHWHILE - 1, WORTHWHILE - 1),
        (100, 100, 100),
        (100, 101, 0),
        (0, 1, 0),
    ] {
        let first = vec![9; CAPACITY - 3 * (PREFIX + TAG) - room];
        let second = vec![8; second];
        let mut stream = over(TestIo::new([]));
        let written = write(&mut stream, &[&first, &second, b"third"]);
        // The third piece must not overtake what was not taken of the second.
        assert_eq!(written, Poll::Ready(Ok(first.len() + taken)), "{room}");
        let expected = [&first[..], &second[..taken]].concat();
        assert_eq!(opened(&stream.io.writes), expected);
    }
}

#[test]
fn what_the_socket_does_not_take_is_owed_and_goes_before_anything_else() {
    let mut stream = over(TestIo::new([]));
    stream.io.room = 10;
    assert_eq!(write(&mut stream, &[b"hello"]), Poll::Ready(Ok(5)));
    assert!(write(&mut stream, &[b"world"]).is_pending());
    assert!(flush(&mut stream).is_pending());
    assert!(shutdown(&mut stream).is_pending());
    assert_eq!((stream.io.flushes, stream.io.shutdowns), (0, 0));
    stream.io.room = 1000;
    assert_eq!(write(&mut stream, &[b"world"]), Poll::Ready(Ok(5)));
    assert_eq!(flush(&mut stream), Poll::Ready(Ok(())));
    assert_eq!((stream.io.flushes, stream.io.shutdowns), (1, 0));
    stream.io.room = 0;
    assert_eq!(write(&mut stream, &[b"!"]), Poll::Ready(Ok(1)));
    assert!(shutdown(&mut stream).is_pending());
    stream.io.room = 1000;
    assert_eq!(shutdown(&mut stream), Poll::Ready(Ok(())));
    assert_eq!((stream.io.flushes, stream.io.shutdowns), (1, 1));
    assert_eq!(opened(&stream.io.writes), b"helloworld!");
}

#[test]
fn a_socket_that_fails_fails_the_write_at_once() {
    let mut stream = over(TestIo::new([]));
    stream.io.room = 10;
    stream.io.fault = Some(ErrorKind::ConnectionReset);
    let failed = Poll::Ready(Err(ErrorKind::ConnectionReset));
    assert_eq!(write(&mut stream, &[b"hello"]), failed);
    assert_eq!(write(&mut stream, &[b"hello"]), failed);
    assert_eq!(
        flush(&mut stream),
        Poll::Ready(Err(ErrorKind::ConnectionReset))
    );
}
