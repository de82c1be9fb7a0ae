//! Entry points for fuzzing: the decoders that read a stranger's bytes. An input on which one of them panics is a finding.

use libp2p_identity::PeerId;

use std::time::Duration;

use crate::{
    Caps, TableConfig, Terms, client,
    wire::{Frames, HopMessage, MAX_RELAY_MESSAGE, StopMessage, Voucher},
};

/// A stream of hop or stop messages, in pieces. The first byte is the length of a piece.
pub fn messages(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else {
        return;
    };
    let mut frames = Frames::default();
    for mut piece in data.chunks(1 + usize::from(*piece)) {
        while let Ok(Some(body)) = frames.next(&mut piece) {
            message(&body);
        }
        assert!(frames.retained() <= MAX_RELAY_MESSAGE, "it keeps too much");
        assert!(frames.wanted() >= 1 && frames.wanted() <= MAX_RELAY_MESSAGE);
    }
}

/// The body of one message. A decoded message must stay the same when it is encoded and decoded again.
pub fn message(body: &[u8]) {
    if let Ok(message) = HopMessage::decode(body)
        && let Ok(bytes) = message.encode()
    {
        let again = body_of(&bytes);
        assert_eq!(
            without_cut(HopMessage::decode(&again)),
            without_cut(Ok(message))
        );
    }
    if let Ok(message) = StopMessage::decode(body)
        && let Ok(bytes) = message.encode()
    {
        let mut again = StopMessage::decode(&body_of(&bytes)).ok();
        let mut message = Some(message);
        for message in [&mut again, &mut message] {
            if let Some(StopMessage::Connect {
                limit: Some(limit), ..
            }) = message
            {
                limit.cut_from = None;
            }
        }
        assert_eq!(again, message);
    }
}

/// An envelope that claims to be a voucher.
pub fn voucher(envelope: &[u8]) {
    let nobody = PeerId::from_bytes(&[0, 1, 7]).expect("an identity multihash");
    assert!(Voucher::open(envelope, nobody, nobody, 0).is_err());
}

/// The addresses in the body of a relay's message.
pub fn reservation(body: &[u8]) {
    let relay = PeerId::from_bytes(&[0, 1, 7]).expect("an identity multihash");
    if let Ok(HopMessage::Status {
        reservation: Some(reservation),
        ..
    }) = HopMessage::decode(body)
    {
        client::check_vetting(&reservation, relay);
    }
}

/// Terms that a decoder accepted. Terms that are out of their bounds must be refused and must change nothing.
pub fn terms(terms: &Terms) {
    let (mut caps, mut table) = (Caps::default(), TableConfig::default());
    if terms.apply(&mut caps, &mut table).is_err() {
        assert_eq!((caps, table), (Caps::default(), TableConfig::default()));
        return;
    }
    let day = Duration::from_secs(86_400);
    let durations = [table.ttl, table.grace, table.answer, table.opening];
    let some = [table.heartbeat, table.circuit_duration];
    let mut all = durations.into_iter().chain(some.into_iter().flatten());
    assert!(all.all(|duration| duration <= day));
    let (mut caps_again, mut table_again) = (Caps::default(), TableConfig::default());
    let again = Terms::of(&caps, &table).apply(&mut caps_again, &mut table_again);
    assert_eq!(again, Ok(()));
    assert_eq!((caps_again, table_again), (caps, table));
}

fn body_of(bytes: &[u8]) -> Vec<u8> {
    let mut input = bytes;
    let body = Frames::default().next(&mut input);
    body.ok().flatten().expect("what we write is a message")
}

fn without_cut(message: Result<HopMessage, crate::wire::WireError>) -> Option<HopMessage> {
    let mut message = message.ok()?;
    if let HopMessage::Status {
        limit: Some(limit), ..
    } = &mut message
    {
        limit.cut_from = None;
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Status,
        wire::{Limit, Reservation},
    };

    fn addresses() -> Vec<crate::Multiaddr> {
        let texts = [
            "/ip4/192.0.2.1/tcp/1",
            "/dns4/a.example/tcp/1",
            "/ip6/::1/udp/1/quic-v1",
        ];
        texts.map(|text| text.parse().expect("an address")).into()
    }

    /// Bytes that are mostly a message.
    fn mangled() -> impl Strategy<Value = Vec<u8>> {
        let limit = (any::<Option<u32>>(), any::<Option<u64>>()).prop_map(|(seconds, data)| {
            let seconds = seconds.map(|s| std::time::Duration::from_secs(s.into()));
            Limit::new(seconds, data)
        });
        let status = (any::<u32>(), any::<u64>(), limit).prop_map(|(code, expire, limit)| {
            HopMessage::Status {
                status: Status::from_code(code),
                reservation: Some(Reservation::new(expire, addresses(), Some(vec![1; 9]))),
                limit: Some(limit),
            }
        });
        let bytes = status.prop_map(|message| message.encode().expect("it is short"));
        let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
        (bytes, flips).prop_map(|(mut bytes, flips)| {
            for (at, to) in flips {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn no_input_upsets_a_decoder(data in prop::collection::vec(any::<u8>(), 0..5000)) {
            messages(&data);
            message(&data);
            voucher(&data);
            reservation(&data);
        }

        #[test]
        fn nor_does_what_looks_like_a_message(bytes in mangled()) {
            message(&bytes[1..]);
            reservation(&bytes[1..]);
            messages(&[&[3], bytes.as_slice(), &bytes].concat());
        }

        #[test]
        fn terms_of_any_numbers_are_in_their_bounds_or_change_nothing(
            ttl in any::<Option<f64>>(),
            duration in any::<Option<f64>>(),
            every in any::<f64>(),
            burst in any::<u32>(),
        ) {
            let rate = Some((burst, every).into());
            let given = Terms {
                ttl_s: ttl,
                circuit_duration_s: duration,
                renew_of_peer: rate,
                connect_of_peer: rate,
                ..Terms::default()
            };
            terms(&given);
        }
    }
}
