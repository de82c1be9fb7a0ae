//! Entry points of the fuzz targets: the decoders of this crate that read bytes from strangers. An input on which one of them
//! panics is a finding.

mod dialers;
mod muxer;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    Keypair, Multiaddr, Target,
    buffer::Buffer,
    dnsaddr::{self, Expansion, MAX_DNSADDR_ADDRESSES},
    noise::{self, Cipher, NoiseStream},
    presume::Presume,
};

pub use dialers::{proxy_answer, rule_text};
pub use muxer::yamux_frames;

/// A `NoiseHandshakePayload` for a fixed static key.
pub fn noise_payload(data: &[u8]) {
    let _ = noise::verify_payload(data, &[7; 32], None, &crate::known::Known::default());
}

/// A target, once as a multiaddr's bytes and once as text.
pub fn target(data: &[u8]) {
    let bytes = Multiaddr::try_from(data.to_vec());
    let text = std::str::from_utf8(data).map(str::parse::<Multiaddr>);
    for address in bytes.into_iter().chain(text.into_iter().flatten()) {
        if let Ok(target) = Target::from_multiaddr(&address) {
            assert_eq!(target.to_multiaddr(), address, "lost something");
            let _ = (target.host_name(), target.to_string());
        }
    }
}

/// The text of one TXT record.
pub fn dnsaddr_record(data: &[u8]) {
    let _ = dnsaddr::parse_record(data);
}

/// An expansion that gets these lines as the answer to each question.
pub fn dnsaddr_expansion(data: &[u8]) {
    let peer = (data.first() == Some(&b'!')).then(|| Keypair::generate_ed25519().public().into());
    let mut expansion = Expansion::new("a.example", peer);
    let mut asked = 0;
    while let Some(query) = expansion.poll_query() {
        asked += 1;
        expansion.handle_answer(&query, data.split(|byte| *byte == b'\n'));
    }
    assert!(asked <= MAX_DNSADDR_ADDRESSES, "asked {asked} names");
    assert!(expansion.take_found().len() <= MAX_DNSADDR_ADDRESSES);
}

/// A Noise stream after its handshake. The first byte sets the number of bytes per read, and the rest is a script. Each instruction
/// is a byte that decides whether the following bytes are sealed or sent unchanged, their length in two bytes, and these bytes.
pub fn noise_frames(data: &[u8]) {
    let Some((appetite, mut script)) = data.split_first() else {
        return;
    };
    let cipher = || Cipher::new(&[7; 32]).expect("32 bytes are a key");
    let (mut sealer, mut wire, mut expected) = (cipher(), Vec::new(), Vec::new());
    let mut genuine = true;
    while let [kind, high, low, rest @ ..] = script {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (piece, rest) = rest.split_at(length.min(rest.len()).min(u16::MAX as usize - 16));
        script = rest;
        if kind % 4 == 0 {
            genuine = false;
            wire.extend_from_slice(piece);
        } else {
            let mut message = [piece, &[0; 16]].concat();
            sealer.seal(&mut message).expect("the counter is low");
            wire.extend_from_slice(&(message.len() as u16).to_be_bytes());
            wire.extend_from_slice(&message);
            if genuine {
                expected.extend_from_slice(piece);
            }
        }
    }
    let stream = NoiseStream::new(wire.as_slice(), cipher(), cipher(), Buffer::default());
    let read = read_all(stream, 1 + usize::from(*appetite) * 300);
    assert!(read.starts_with(&expected), "genuine text was lost");
    if genuine {
        assert_eq!(read, expected, "text from nowhere");
    }
}

/// A stream with an optimistic negotiation. The first byte is the maximum number of bytes per read, and the rest is the input
/// from the peer. The output is the bytes after the peer's agreement. Without an agreement there is no output.
pub fn presumed(data: &[u8]) {
    let Some((appetite, said)) = data.split_first() else {
        return;
    };
    const AGREED: &[u8] = b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n";
    let mut stream = Presume::new(said);
    stream.presume("/tls/1.0.0");
    let read = read_all(stream, 1 + usize::from(*appetite));
    let expected = said.strip_prefix(AGREED).unwrap_or_default();
    assert_eq!(read, expected, "the answer was not taken out");
}

fn read_all(stream: impl AsyncRead, appetite: usize) -> Vec<u8> {
    let (mut stream, mut all) = (pin!(stream), Vec::new());
    let mut memory = vec![0; appetite];
    loop {
        let mut buf = ReadBuf::new(&mut memory);
        let read = stream
            .as_mut()
            .poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
        match read {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => all.extend_from_slice(buf.filled()),
            _ => return all,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Scripts for [`super::noise_frames`] that are mostly well-formed.
    fn script() -> impl Strategy<Value = Vec<u8>> {
        let piece = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..3000));
        let pieces = prop::collection::vec(piece, 0..8);
        (any::<u8>(), pieces).prop_map(|(appetite, pieces)| {
            let mut script = vec![appetite];
            for (kind, piece) in pieces {
                script.push(kind);
                script.extend_from_slice(&(piece.len() as u16).to_be_bytes());
                script.extend_from_slice(&piece);
            }
            script
        })
    }

    /// Scripts for [`super::yamux_frames`] in which streams begin before they carry data, and mostly small frames.
    fn instructions() -> impl Strategy<Value = Vec<u8>> {
        let begin = (0..8_u8).prop_map(|id| [4, id, 0, 0, 1]);
        let small = (0..8_u8, 1..40_u8).prop_map(|(id, length)| [0, id, 0, length, 0]);
        let flagged = (0..8_u8, 0..16_u8).prop_map(|(id, flags)| [0, id, 0, 9, flags]);
        let large = (0..8_u8, any::<u8>()).prop_map(|(id, length)| [0, id, length, 1, 0]);
        let read = (0..8_u8, any::<u8>()).prop_map(|(id, most)| [5, id, most % 16, most, 0]);
        let forget = (0..8_u8).prop_map(|id| [6, id, 0, 0, 0]);
        let anything = any::<[u8; 5]>();
        let next = prop_oneof![
            1 => begin, 16 => small, 2 => flagged, 2 => large, 3 => read, 1 => forget, 1 => anything
        ];
        (any::<u8>(), prop::collection::vec(next, 0..300)).prop_map(|(pace, script)| {
            let mut data: Vec<u8> = (0..8).flat_map(|id| [4, id, 0, 0, 1]).collect();
            data.insert(0, pace);
            data.extend(script.concat());
            data
        })
    }

    #[test]
    fn what_follows_a_long_body_that_is_skipped_is_read_after_it() {
        super::yamux_frames(&[
            4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 88, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 69, 0, 0, 0, 0, 96, 13,
            206, 50, 28, 168, 229, 0, 1, 101,
        ]);
    }

    proptest! {
        #[test]
        fn no_input_upsets_a_decoder(data in prop::collection::vec(any::<u8>(), 0..2000)) {
            super::noise_payload(&data);
            super::target(&data);
            super::dnsaddr_record(&data);
            super::dnsaddr_expansion(&data);
            super::noise_frames(&data);
            super::presumed(&data);
            super::yamux_frames(&data);
        }

        #[test]
        fn every_byte_of_a_stream_arrives_once_and_in_order(script in instructions()) {
            super::yamux_frames(&script);
        }

        #[test]
        fn genuine_text_arrives_and_nothing_else(script in script()) {
            super::noise_frames(&script);
        }

        #[test]
        fn a_target_reads_back_what_it_writes(
            text in "/(ip4/1\\.2\\.3\\.4|ip6/::1|dns|dns4|dns6|dnsaddr)/[a-z.]{0,20}(/tcp/[0-9]{1,5})?",
        ) {
            super::target(text.as_bytes());
        }

        #[test]
        fn records_that_point_anywhere_end(
            lines in prop::collection::vec("dnsaddr=/(dnsaddr/[a-f]|ip4/1.2.3.[0-9]/tcp/[0-9]{1,3})", 0..300),
        ) {
            super::dnsaddr_expansion(lines.join("\n").as_bytes());
        }
    }
}
