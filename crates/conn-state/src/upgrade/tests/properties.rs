//! Any bytes, split anywhere, and any calls in any order.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

type Decoded = (Vec<Message>, Option<WireError>);

/// All that a decoder makes of the pieces; it never keeps more than one message.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
            assert!(decoder.retained() <= MAX_DCUTR_MESSAGE);
        }
        assert!(piece.is_empty());
        assert!(decoder.retained() <= MAX_DCUTR_MESSAGE);
    }
    (messages, None)
}

fn split_at<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

fn a_message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![Just(Kind::Connect), Just(Kind::Sync)];
    let addresses = vec(vec(any::<u8>(), 0..60), 0..20);
    (kind, addresses).prop_map(|(kind, addresses)| Message { kind, addresses })
}

/// Mostly legal bytes, so that what is behind the first message is reached.
fn a_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => a_message().prop_map(|message| message.encode().unwrap()),
        1 => vec(any::<u8>(), 0..40),
        1 => vec(any::<u8>(), 1..100).prop_map(|mut body| {
            body.insert(0, body.len() as u8);
            body
        }),
    ];
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read(messages in vec(a_message(), 0..5)) {
        let bytes: Vec<u8> = messages.iter().flat_map(|one| one.encode().unwrap()).collect();
        prop_assert_eq!(decode([bytes.as_slice()]), (messages, None));
    }

    #[test]
    fn a_split_anywhere_changes_nothing(bytes in a_stream(), cuts in vec(any::<Index>(), 0..8)) {
        let whole = decode([bytes.as_slice()]);
        prop_assert_eq!(decode(split_at(&bytes, &cuts)), whole.clone());
        prop_assert_eq!(decode(bytes.chunks(1)), whole);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..5_000)) {
        decode([bytes.as_slice()]);
        decode(bytes.chunks(1));
    }
}

#[derive(Debug, Clone)]
enum Op {
    Wait(u64),
    Opened,
    Closed,
    Bytes(Vec<u8>),
    Dialed(u8, DialResult),
    Connected,
}

fn an_op() -> impl Strategy<Value = Op> {
    let result = prop_oneof![9 => Just(DialResult::Failed), 1 => Just(DialResult::Connected)];
    prop_oneof![
        4 => (0u64..12_000).prop_map(Op::Wait),
        8 => Just(Op::Opened),
        1 => Just(Op::Closed),
        8 => Just(Op::Bytes(connect(&["x", "relayed"]))),
        6 => Just(Op::Bytes(sync())),
        1 => a_stream().prop_map(Op::Bytes),
        6 => (0u8..4, result).prop_map(|(attempt, result)| Op::Dialed(attempt, result)),
        1 => Just(Op::Connected),
    ]
}

/// What every host may rely on, whatever the peer and the host itself do.
#[derive(Default)]
struct Rules {
    punches: usize,
    plain: usize,
    last_attempt: u8,
    has_ended: bool,
}

impl Rules {
    fn check(&mut self, events: Vec<Event<String>>) {
        for event in events {
            assert!(!self.has_ended, "{event:?} after the end");
            match event {
                Event::Dial(dial) => {
                    assert!(!dial.addresses.is_empty() && dial.addresses.len() <= 16);
                    assert!(dial.attempt >= self.last_attempt);
                    self.last_attempt = dial.attempt;
                    match dial.role {
                        Role::Plain => self.plain += 1,
                        Role::Client | Role::Server => self.punches += 1,
                    }
                }
                Event::Succeeded { .. } | Event::Failed { .. } => self.has_ended = true,
                Event::Send(bytes) => assert!(bytes.len() <= MAX_DCUTR_MESSAGE + 2),
                Event::OpenStream => {}
            }
        }
        assert!(self.plain <= 1 && self.punches <= 3);
    }
}

proptest! {
    #[test]
    fn an_initiator_ends_once_whatever_happens(
        public in vec("[a-z]{1,4}", 0..3),
        ops in vec(an_op(), 0..40),
    ) {
        let mut now = Instant::now();
        let mut b = Initiator::new(now, UpgradeConfig::default(), named(&["b"]), public);
        let mut rules = Rules::default();
        for op in ops {
            match op {
                Op::Wait(wait) => now += ms(wait),
                Op::Opened => b.handle_stream_opened(now),
                Op::Closed => b.handle_stream_closed(now),
                Op::Bytes(bytes) => b.handle_received(now, &bytes, read),
                Op::Dialed(attempt, result) => b.handle_dial_result(now, attempt, result),
                Op::Connected => b.handle_connected(now),
            }
            rules.check(drain(|| b.poll_event()));
        }
        for _ in 0..20 {
            if let Some(until) = b.poll_timeout() {
                b.handle_timeout(until);
                prop_assert!(b.poll_timeout().is_none_or(|next| next > until));
                rules.check(drain(|| b.poll_event()));
            }
        }
        prop_assert!(rules.has_ended && b.is_over());
    }

    #[test]
    fn a_responder_ends_once_whatever_happens(ops in vec(an_op(), 0..40)) {
        let mut now = Instant::now();
        let mut a = responder(now);
        let mut rules = Rules::default();
        for op in ops {
            match op {
                Op::Wait(wait) => now += ms(wait),
                Op::Opened => drop(a.handle_stream_opened(now)),
                Op::Closed => a.handle_stream_closed(now),
                Op::Bytes(bytes) => a.handle_received(now, &bytes, read),
                Op::Dialed(attempt, result) => a.handle_dial_result(now, attempt, result),
                Op::Connected => a.handle_connected(now),
            }
            rules.check(drain(|| a.poll_event()));
        }
        for _ in 0..20 {
            if let Some(until) = a.poll_timeout() {
                a.handle_timeout(until);
                prop_assert!(a.poll_timeout().is_none_or(|next| next > until));
                rules.check(drain(|| a.poll_event()));
            }
        }
        prop_assert!(rules.has_ended && a.is_over());
    }
}
