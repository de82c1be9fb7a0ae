//! The entry point of the fuzz target: the decoder of this crate that reads bytes from strangers. An input on which the decoder
//! panics is a finding.

use crate::upgrade::{Decoder, MAX_DCUTR_MESSAGE, Message, WireError};

/// The bytes of a hole punch's stream, in pieces. The first byte is the length of a piece.
pub fn dcutr(data: &[u8]) {
    let Some((length, stream)) = data.split_first() else {
        return;
    };
    let whole = decode([stream]);
    let pieces = decode(stream.chunks(usize::from(*length) + 1));
    assert_eq!(whole, pieces, "it depends on where the bytes were split");
    for message in whole.0 {
        let bytes = message.encode().expect("no longer than it was");
        assert_eq!(decode([bytes.as_slice()]), (vec![message], None));
    }
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Option<WireError>) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for mut piece in pieces {
        loop {
            let decoded = decoder.decode(&mut piece);
            assert!(decoder.retained() <= MAX_DCUTR_MESSAGE, "it keeps too much");
            match decoded {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    let again = decoder.decode(&mut [1, 0].as_slice());
                    assert_eq!(again.as_ref(), Err(&error), "it goes on after an error");
                    return (messages, Some(error));
                }
            }
        }
        assert!(piece.is_empty(), "it wants more and leaves some");
    }
    (messages, None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_input_upsets_the_decoder(data in prop::collection::vec(any::<u8>(), 0..600)) {
            super::dcutr(&data);
        }

        #[test]
        fn whole_messages_are_read_alike_however_they_are_split(
            step in any::<u8>(),
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..6),
        ) {
            let connect = |body: Vec<u8>| [&[8, 100, 18, body.len() as u8], &body[..]].concat();
            let framed = bodies.into_iter().map(|body| {
                let message = connect(body);
                [&[message.len() as u8], &message[..]].concat()
            });
            super::dcutr(&[vec![step], framed.collect::<Vec<_>>().concat()].concat());
        }
    }
}
