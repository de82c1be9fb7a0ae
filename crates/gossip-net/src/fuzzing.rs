//! The functions that the fuzz targets call. They decode bytes from strangers, and must not panic on any input.

use std::time::{Duration, Instant};

use crate::{
    Config, Core, Id, LinkId, LinkProtocol, TopicId,
    wire::{AddrInfo, Frames, Message, PeerData},
};

/// The bytes of a stream: its header, and frames.
pub fn gossip_stream(data: &[u8]) {
    let mut frames = Frames::new(4096);
    for piece in data.chunks(97) {
        frames.buffer().extend_from_slice(piece);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => gossip_message(&frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// One message. A decoded message must stay the same when it is encoded and decoded again.
pub fn gossip_message(data: &[u8]) {
    if let Ok(message) = Message::decode(data) {
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(Message::decode(&again[4..]), Ok(message));
    }
}

/// The addresses of a peer.
pub fn peer_data(data: &[u8]) {
    let found = AddrInfo::decode(&PeerData(data.to_vec().into()));
    assert!(found.direct.len() <= 8 && found.multiaddrs.len() <= 8);
    assert_eq!(AddrInfo::decode(&found.encode()).direct, found.direct);
}

/// A node that gets messages from two peers. The first byte of each part encodes the sender, the length, and the time before the
/// message. The times count from `start`.
pub fn gossip_core(start: Instant, data: &[u8]) {
    let peer = |number: u8| {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[number; 32]);
        Id::from_bytes(secret.verifying_key().to_bytes())
    };
    let (Ok(me), Ok(one), Ok(other)) = (peer(1), peer(2), peer(3)) else {
        return;
    };
    let mut now = start;
    let mut core = Core::new(me, 7, Config::default());
    let topic = TopicId::from_bytes([5; 32]);
    assert!(core.subscribe(now, topic, &[]).is_ok());
    core.handle_link_up(now, LinkId(1), one, one, LinkProtocol::Bowline);
    core.handle_link_up(now, LinkId(2), other, me, LinkProtocol::Iroh);
    let mut rest = data;
    let mut number = 0;
    while let [first, tail @ ..] = rest {
        now += Duration::from_millis(u64::from(first >> 4) * 97);
        core.handle_timeout(now);
        let link = LinkId(1 + u64::from(first & 1));
        let length = usize::from(first & 0b1110) * 6;
        let (frame, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        number += 1;
        if !core.admit(now, link, frame) {
            continue;
        }
        match Message::decode(frame) {
            Ok(message) => core.handle_message(now, link, (1, number), topic, message),
            Err(_) => core.handle_invalid(now, link),
        }
        while core.poll_output().is_some() {}
        core.poll_transmit(now, link, 4096);
        assert!(core.neighbors(&topic).len() <= 5);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_upset_a_decoder(data in prop::collection::vec(any::<u8>(), 0..400)) {
            super::gossip_stream(&data);
            super::gossip_message(&data);
            super::peer_data(&data);
        }

        #[test]
        fn no_messages_upset_the_core(data in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..6], 0..600)) {
            super::gossip_core(std::time::Instant::now(), &data);
        }
    }
}
