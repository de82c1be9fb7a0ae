use libp2p_identity::Keypair;

use super::*;

fn body(bytes: &[u8]) -> Vec<u8> {
    let mut input = bytes;
    let body = Frames::default().next(&mut input).unwrap().unwrap();
    assert!(input.is_empty());
    body
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn messages_are_the_bytes_that_the_spec_says() {
    let reserve = HopMessage::Reserve.encode().unwrap();
    assert_eq!(
        hex(&reserve),
        "020800",
        "the type is written though it is 0"
    );
    let refusal = HopMessage::refusal(Status::ResourceLimitExceeded);
    assert_eq!(hex(&refusal.encode().unwrap()), "05080228c901");
    let limit = Limit::new(Some(Duration::from_secs(120)), Some(128 << 10));
    let granted = HopMessage::Status {
        status: Status::Ok,
        reservation: Some(Reservation::new(1, Vec::new(), None)),
        limit: Some(limit),
    };
    let bytes = granted.encode().unwrap();
    assert_eq!(hex(&bytes), "1008021a02080122060878108080082864");
    assert_eq!(HopMessage::decode(&body(&bytes)).unwrap(), granted);
    let accepted = StopMessage::Status(Status::Ok).encode().unwrap();
    assert_eq!(hex(&accepted), "0408012064");
}

#[test]
fn what_is_written_is_read() {
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    let connect = HopMessage::Connect(peer);
    assert_eq!(
        HopMessage::decode(&body(&connect.encode().unwrap())).unwrap(),
        connect
    );
    for limit in [
        None,
        Some(Limit::default()),
        Some(Limit::new(None, Some(1))),
    ] {
        let stop = StopMessage::Connect { peer, limit };
        assert_eq!(
            StopMessage::decode(&body(&stop.encode().unwrap())).unwrap(),
            stop
        );
    }
    let address: Multiaddr = "/ip4/1.2.3.4/tcp/4001".parse().unwrap();
    let answer = HopMessage::Status {
        status: Status::Ok,
        reservation: Some(Reservation::new(
            u64::MAX,
            vec![address],
            Some(vec![7; 100]),
        )),
        limit: None,
    };
    assert_eq!(
        HopMessage::decode(&body(&answer.encode().unwrap())).unwrap(),
        answer
    );
}

#[test]
fn milliseconds_for_seconds_are_cut_and_told_and_zero_is_no_limit() {
    let read = |seconds: u32| {
        let limit = proto::Limit {
            duration: Some(seconds),
            data: Some(0),
        };
        Limit::from_proto(limit)
    };
    let js = read(120_000);
    assert_eq!(
        (js.duration, js.cut_from),
        (Some(MAX_DURATION), Some(120_000))
    );
    let day = read(86_400);
    assert_eq!((day.duration, day.cut_from), (Some(MAX_DURATION), None));
    assert_eq!(read(86_401).cut_from, Some(86_401));
    assert_eq!(read(0), Limit::default());
}

#[test]
fn a_duration_is_rounded_up_to_seconds() {
    let seconds = |duration| Limit::new(Some(duration), None).to_proto().duration;
    assert_eq!(
        seconds(Duration::from_millis(1)),
        Some(1),
        "0 would be no limit"
    );
    assert_eq!(seconds(Duration::from_secs(2)), Some(2));
    assert_eq!(seconds(Duration::MAX), Some(u32::MAX));
}

#[test]
fn what_is_no_message_is_named() {
    assert_eq!(HopMessage::decode(&[]), Err(WireError::MissingType));
    assert_eq!(
        HopMessage::decode(&[8, 3]),
        Err(WireError::UnknownType { code: 3 })
    );
    let wide = [8, 0x81, 0x80, 0x80, 0x80, 0x10];
    let code = 1 + (1 << 32);
    assert_eq!(
        HopMessage::decode(&wide),
        Err(WireError::UnknownType { code })
    );
    assert_eq!(HopMessage::decode(&[8, 1]), Err(WireError::MissingPeer));
    let invalid = [8, 1, 0x12, 3, 0x0a, 1, 0];
    assert_eq!(
        HopMessage::decode(&invalid),
        Err(WireError::InvalidPeer { length: 1 })
    );
    let far = Err(WireError::LongPrefix { limit: 2 });
    assert_eq!(
        Frames::default().next(&mut [0xff, 0xff, 0xff].as_slice()),
        far
    );
    let long = WireError::TooLong {
        length: 4097,
        limit: 4096,
    };
    assert_eq!(
        Frames::default().next(&mut [0x81, 0x20].as_slice()),
        Err(long)
    );
    assert_eq!(
        Frames::default().next(&mut [0x80, 0x20].as_slice()),
        Ok(None)
    );
    let padded = WireError::NotMinimal { length: 2 };
    assert_eq!(
        Frames::default().next(&mut [0x82, 0].as_slice()),
        Err(padded)
    );
}

#[test]
fn a_voucher_is_worth_something_only_as_it_was_sealed() {
    let (relay, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (by, of) = (relay.public().to_peer_id(), other.public().to_peer_id());
    let voucher = Voucher {
        relay: by,
        peer: of,
        expiration: 100,
    };
    let sealed = voucher.seal(&relay).unwrap();
    assert_eq!(Voucher::open(&sealed, by, of, 99).unwrap(), voucher);
    let late = Voucher::open(&sealed, by, of, 100);
    assert!(matches!(
        late,
        Err(VoucherError::Expired {
            expiration: 100,
            now: 100
        })
    ));
    let another = Voucher::open(&sealed, by, by, 0);
    assert!(matches!(another, Err(VoucherError::Names { .. })));
    let forged = voucher.seal(&other).unwrap();
    let signer = Voucher::open(&forged, by, of, 0);
    assert!(matches!(signer, Err(VoucherError::Signer { .. })));
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let opened = Voucher::open(&changed, by, of, 0);
        assert!(opened.is_err(), "byte {at} may be anything");
    }
}
