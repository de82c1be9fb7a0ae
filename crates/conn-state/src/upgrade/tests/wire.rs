use super::*;

fn decode(mut bytes: &[u8]) -> Result<Option<Message>, WireError> {
    let result = Decoder::default().decode(&mut bytes);
    assert!(bytes.is_empty() || !matches!(result, Ok(None)));
    result
}

/// Behind its length, a message of so many bytes: a CONNECT with one long address.
fn message_of(length: usize) -> Vec<u8> {
    let address = vec![b'x'; length - 2 - 3];
    let mut bytes = vec![(length & 0x7f) as u8 | 0x80, (length >> 7) as u8, 8, 100];
    let inner = address.len();
    bytes.extend([0x12, (inner & 0x7f) as u8 | 0x80, (inner >> 7) as u8]);
    bytes.extend(address);
    bytes
}

#[test]
fn a_connect_is_type_100_and_each_address_as_it_is() {
    // /ip4/192.0.2.1/tcp/4001 and /ip4/192.0.2.1/udp/4001/quic-v1.
    let tcp = vec![0x04, 192, 0, 2, 1, 0x06, 0x0f, 0xa1];
    let quic = vec![0x04, 192, 0, 2, 1, 0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03];
    let message = Message::connect(vec![tcp, quic]);
    let bytes = message.encode().unwrap();
    let expected = [
        25, 0x08, 100, // type
        0x12, 8, 0x04, 192, 0, 2, 1, 0x06, 0x0f, 0xa1, // the first address
        0x12, 11, 0x04, 192, 0, 2, 1, 0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03, // the second
    ];
    assert_eq!(bytes, expected);
    assert_eq!(decode(&bytes), Ok(Some(message)));
}

#[test]
fn a_sync_is_type_300_and_nothing_else() {
    let bytes = Message::sync().encode().unwrap();
    assert_eq!(bytes, [3, 0x08, 0xac, 0x02]);
    assert_eq!(decode(&bytes), Ok(Some(Message::sync())));
}

#[test]
fn a_length_of_128_bytes_takes_two_bytes_and_127_one() {
    let of = |length: usize| Message::connect(vec![vec![0; length]]).encode().unwrap();
    assert_eq!(of(123)[..1], [127]);
    assert_eq!(of(124)[..2], [0x80, 1]);
    for bytes in [of(123), of(124)] {
        assert!(matches!(decode(&bytes), Ok(Some(_))));
    }
}

#[test]
fn messages_that_come_together_are_told_apart() {
    let bytes = [connect(&["a"]), sync(), connect(&["b"])].concat();
    let (mut input, mut decoder) = (bytes.as_slice(), Decoder::default());
    let kinds = std::iter::from_fn(|| decoder.decode(&mut input).unwrap().map(|m| m.kind));
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [Kind::Connect, Kind::Sync, Kind::Connect]
    );
}

#[test]
fn fields_of_a_later_spec_are_passed_over() {
    // Field 3 a number, field 4 bytes, both before the type.
    let bytes = [9, 0x18, 7, 0x22, 2, 1, 2, 0x08, 0xac, 0x02];
    assert_eq!(decode(&bytes), Ok(Some(Message::sync())));
}

#[test]
fn a_message_of_4096_bytes_is_read_and_of_4097_refused_at_its_length() {
    let longest = message_of(MAX_DCUTR_MESSAGE);
    assert_eq!(longest.len(), MAX_DCUTR_MESSAGE + 2);
    let Ok(Some(message)) = decode(&longest) else {
        panic!("not read");
    };
    assert_eq!(message.encode(), Ok(longest));
    let too_long = Err(WireError::TooLong {
        length: MAX_DCUTR_MESSAGE + 1,
        limit: MAX_DCUTR_MESSAGE,
    });
    assert_eq!(decode(&message_of(MAX_DCUTR_MESSAGE + 1)[..2]), too_long);
}

#[test]
fn a_message_of_4097_bytes_is_not_sent() {
    let of = |length: usize| Message::connect(vec![vec![0; length]]).encode();
    assert_eq!(of(MAX_DCUTR_MESSAGE - 5).map(|bytes| bytes.len()), Ok(4098));
    let too_long = Err(WireError::TooLong {
        length: MAX_DCUTR_MESSAGE + 1,
        limit: MAX_DCUTR_MESSAGE,
    });
    assert_eq!(of(MAX_DCUTR_MESSAGE - 4), too_long);
}

#[test]
fn an_endless_length_ends_at_its_third_byte() {
    assert_eq!(decode(&[0xff]), Ok(None));
    let error = WireError::LongPrefix { limit: 2 };
    assert_eq!(decode(&[0xff, 0xff]), Err(error.clone()));
    assert_eq!(decode(&[0xff; 100]), Err(error));
}

#[test]
fn a_length_with_a_byte_too_many_is_refused() {
    assert_eq!(
        decode(&[0x83, 0x00, 0x08, 0xac, 0x02]),
        Err(WireError::NotMinimal { length: 3 })
    );
    assert_eq!(
        decode(&[0x80, 0x00]),
        Err(WireError::NotMinimal { length: 0 })
    );
}

#[test]
fn a_message_without_a_type_or_with_an_unknown_one_is_refused() {
    assert_eq!(decode(&[0]), Err(WireError::MissingType));
    assert_eq!(decode(&[3, 0x12, 1, 9]), Err(WireError::MissingType));
    for code in [0, 99, 101, 299, 301] {
        let body = prost::encoding::encoded_len_varint(code) as u8 + 1;
        let mut bytes = vec![body, 0x08];
        prost::encoding::encode_varint(code, &mut bytes);
        assert_eq!(decode(&bytes), Err(WireError::UnknownType { code }));
    }
}

#[test]
fn a_type_of_more_than_32_bits_is_not_cut_to_a_known_one() {
    let code = 100 + (1 << 32);
    let mut bytes = vec![6, 0x08];
    prost::encoding::encode_varint(code, &mut bytes);
    assert_eq!(decode(&bytes), Err(WireError::UnknownType { code }));
}

#[test]
fn what_is_no_protobuf_is_refused_and_the_source_kept() {
    let error = decode(&[4, 0xff, 0xff, 0xff, 0xff]).unwrap_err();
    assert!(matches!(error, WireError::Protobuf(_)), "{error:?}");
    assert!(std::error::Error::source(&error).is_some());
    // An address that claims more bytes than the message has.
    let error = decode(&[5, 0x08, 100, 0x12, 0xff, 0x7f]).unwrap_err();
    assert!(matches!(error, WireError::Protobuf(_)), "{error:?}");
}

#[test]
fn after_an_error_a_decoder_takes_nothing_more() {
    let mut decoder = Decoder::default();
    assert_eq!(
        decoder.decode(&mut [0].as_slice()),
        Err(WireError::MissingType)
    );
    let good = sync();
    let mut input = good.as_slice();
    assert_eq!(decoder.decode(&mut input), Err(WireError::MissingType));
    assert_eq!(input, good);
    assert_eq!(decoder.retained(), 0);
}

#[test]
fn an_announced_message_takes_no_memory_until_it_comes() {
    let mut decoder = Decoder::default();
    let bytes = message_of(MAX_DCUTR_MESSAGE);
    assert_eq!(decoder.decode(&mut &bytes[..2]), Ok(None));
    assert_eq!(decoder.retained(), 0);
    assert_eq!(decoder.decode(&mut &bytes[2..12]), Ok(None));
    assert_eq!(decoder.retained(), 10);
}

#[test]
fn errors_say_in_lower_case_what_failed() {
    let error = UpgradeError::from(WireError::LongPrefix { limit: 2 });
    assert_eq!(error.to_string(), "the peer sent what is no message");
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "a length of more than 2 bytes");
    let (kind, step) = (Kind::Sync, Step::Connect);
    assert_eq!(
        UpgradeError::Unexpected { kind, step }.to_string(),
        "the peer sent a sync message while it was waited for a connect message"
    );
    let skipped = Skipped {
        relayed: 2,
        undecodable: 1,
        ..Skipped::default()
    };
    assert_eq!(
        UpgradeError::NoAddress { skipped }.to_string(),
        "no address to dial in the peer's connect message (2 relayed, 1 undecodable, 0 unwanted)"
    );
}
