use super::*;
use crate::{Origin, SlotState, TableConfig, wire::MAX_RELAY_MESSAGE};
const UNIX: u64 = 1_700_000_000;

struct Relay {
    start: Instant,
    now: Instant,
    server: Server,
    holder: (PeerId, ConnectionId),
    source: (PeerId, ConnectionId),
}

fn peer() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

fn relay_of(config: TableConfig) -> Relay {
    let now = Instant::now();
    let table = Table::new(now, 1, Caps::default().with_slots(1), config);
    let addresses = vec!["/ip4/192.0.2.1/tcp/4001".parse().unwrap()];
    let mut server = Server::new(table, Keypair::generate_ed25519(), addresses);
    let mut connect = |number| {
        let (peer, connection) = (peer(), ConnectionId(number));
        let table = server.table_mut();
        table.handle_connected(now, connection, &peer, Origin::Local);
        (peer, connection)
    };
    let (holder, source) = (connect(1), connect(2));
    Relay {
        start: now,
        now,
        server,
        holder,
        source,
    }
}

fn relay() -> Relay {
    relay_of(TableConfig::default())
}

impl Relay {
    fn hop(&mut self, connection: ConnectionId, message: HopMessage) -> HopAnswer {
        let unix = UNIX + (self.now - self.start).as_secs();
        self.server
            .handle_hop(self.now, unix, connection, Ok(message))
    }

    fn status(&mut self, connection: ConnectionId, message: HopMessage) -> u32 {
        match self.hop(connection, message) {
            HopAnswer::Reply {
                message: HopMessage::Status { status, .. },
                ..
            } => status.code(),
            HopAnswer::Grant(_) => 100,
            other => panic!("{other:?}"),
        }
    }

    /// The answer to a RESERVE, and whether it was signed for this request.
    fn granted(&mut self, connection: ConnectionId) -> (HopMessage, bool) {
        let HopAnswer::Grant(grant) = self.hop(connection, HopMessage::Reserve) else {
            panic!("refused");
        };
        let granting = grant.answer();
        self.server.handle_signed(&granting);
        (granting.message, granting.signed.is_some())
    }

    fn open(&mut self) -> (CircuitId, StopMessage) {
        let (circuit, request, _) = self.open_metered();
        (circuit, request)
    }

    fn open_metered(&mut self) -> (CircuitId, StopMessage, Arc<Meter>) {
        let ((holder, way), (_, source)) = (self.holder, self.source);
        self.hop(way, HopMessage::Reserve);
        match self.hop(source, HopMessage::Connect(holder)) {
            HopAnswer::Open {
                circuit,
                connection,
                request,
                meter,
                ..
            } if connection == way => (circuit, request, meter),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_reservation_comes_with_its_end_the_addresses_the_limit_and_a_voucher() {
    let mut relay = relay();
    let (holder, connection) = relay.holder;
    let HopMessage::Status {
        status: Status::Ok,
        reservation: Some(reservation),
        limit,
    } = relay.granted(connection).0
    else {
        panic!("refused");
    };
    let local = relay.server.local;
    assert_eq!(reservation.expire, UNIX + 3600);
    let address = format!("/ip4/192.0.2.1/tcp/4001/p2p/{local}");
    assert_eq!(reservation.addresses[0].to_string(), address);
    let expected = Limit::new(Some(Duration::from_secs(120)), Some(131_072));
    assert_eq!(limit, Some(expected));
    let voucher = reservation.voucher.unwrap();
    let voucher = Voucher::open(&voucher, local, holder, UNIX).unwrap();
    assert_eq!(voucher.expiration, UNIX + 3600);
}

#[test]
fn a_full_relay_says_201_and_its_log_says_why() {
    let mut relay = relay();
    let ((_, holder), (_, second)) = (relay.holder, relay.source);
    assert_eq!(relay.status(holder, HopMessage::Reserve), 100);
    assert_eq!(relay.status(holder, HopMessage::Reserve), 100);
    let HopAnswer::Reply { message, refusal } = relay.hop(second, HopMessage::Reserve) else {
        panic!("admitted");
    };
    assert_eq!(message, HopMessage::refusal(Status::ResourceLimitExceeded));
    assert_eq!(refusal, Some(Refusal::Slots { limit: 1 }));
}

#[test]
fn a_circuit_is_announced_with_its_source_and_opened_once_it_is_accepted() {
    let mut relay = relay();
    let (circuit, request) = relay.open();
    let limit = Limit::new(Some(Duration::from_secs(120)), Some(131_072));
    let expected = StopMessage::Connect {
        peer: relay.source.0,
        limit: Some(limit),
    };
    assert_eq!(request, expected);
    let accepted = Some(StopMessage::Status(Status::Ok));
    let StopAnswer::Splice { message, data, .. } =
        relay.server.handle_stop(relay.now, circuit, accepted)
    else {
        panic!("refused");
    };
    assert_eq!(data, Some(131_072));
    assert!(matches!(
        message,
        HopMessage::Status { status: Status::Ok, limit: Some(told), .. } if told == limit
    ));
    assert_eq!(relay.server.table().usage().circuits, 1);
    relay.server.handle_closed(relay.now, circuit);
    assert_eq!(relay.server.table().usage().circuits, 0);
}

#[test]
fn whatever_but_an_ok_ends_the_circuit_with_203() {
    let answers = [
        None,
        Some(StopMessage::Status(Status::PermissionDenied)),
        Some(StopMessage::Status(Status::Unknown(0))),
        Some(StopMessage::Connect {
            peer: peer(),
            limit: None,
        }),
    ];
    for answer in answers {
        let mut relay = relay();
        let (circuit, _) = relay.open();
        let answer = relay.server.handle_stop(relay.now, circuit, answer);
        let failed = HopMessage::refusal(Status::ConnectionFailed);
        assert_eq!(answer, StopAnswer::Reply(failed));
        assert_eq!(relay.server.table().usage().circuits, 0);
    }
}

#[test]
fn an_ok_that_comes_too_late_opens_nothing() {
    let mut relay = relay();
    let (circuit, _) = relay.open();
    let late = relay.now + Duration::from_secs(30);
    let accepted = Some(StopMessage::Status(Status::Ok));
    let answer = relay.server.handle_stop(late, circuit, accepted);
    let failed = HopMessage::refusal(Status::ConnectionFailed);
    assert_eq!(answer, StopAnswer::Reply(failed));
}

#[test]
fn without_limits_none_are_told() {
    let config = TableConfig::default().with_circuit_limits(None, None);
    let mut relay = relay_of(config);
    let (_, request) = relay.open();
    assert!(matches!(request, StopMessage::Connect { limit: None, .. }));
}

#[test]
fn hostile_requests_get_the_spec_s_answers_and_change_nothing() {
    let mut relay = relay();
    let ((holder, _), (_, source)) = (relay.holder, relay.source);
    // Connected, but without a reservation: other relays panicked.
    assert_eq!(relay.status(source, HopMessage::Connect(holder)), 204);
    assert_eq!(relay.status(source, HopMessage::Connect(peer())), 204);
    let status = HopMessage::refusal(Status::Ok);
    assert_eq!(relay.status(source, status), 401);
    let none = Err(WireError::MissingType);
    let answer = relay.server.handle_hop(relay.now, UNIX, source, none);
    assert!(matches!(
        answer,
        HopAnswer::Reply {
            message: HopMessage::Status {
                status: Status::MalformedMessage,
                ..
            },
            ..
        }
    ));
    let relayed = ConnectionId(9);
    let table = relay.server.table_mut();
    table.handle_connected(relay.now, relayed, &peer(), Origin::Relayed);
    assert_eq!(relay.status(relayed, HopMessage::Reserve), 202);
    assert_eq!(relay.status(relayed, HopMessage::Connect(holder)), 202);
    let usage = relay.server.table().usage();
    assert_eq!((usage.slots, usage.circuits, usage.buckets), (0, 0, 0));
}

#[test]
fn the_answer_lists_each_address_with_the_relays_id_and_no_circuit_address() {
    let mut relay = relay();
    let own = relay.server.local;
    let parse = |text: &str| text.parse::<Multiaddr>().unwrap();
    let circuit = format!("/ip4/192.0.2.2/tcp/2/p2p/{}/p2p-circuit", peer());
    relay
        .server
        .set_addresses(vec![parse(&circuit), parse("/ip4/192.0.2.1/tcp/1")]);
    let (_, connection) = relay.holder;
    let (message, _) = relay.granted(connection);
    let HopMessage::Status {
        reservation: Some(reservation),
        ..
    } = message
    else {
        panic!("{message:?}");
    };
    let listed = parse(&format!("/ip4/192.0.2.1/tcp/1/p2p/{own}"));
    assert_eq!(reservation.addresses, [listed]);
}

#[test]
fn of_too_many_addresses_as_many_are_told_as_fit() {
    let mut relay = relay();
    let addresses = (0..500).map(|port| format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap());
    relay.server.set_addresses(addresses.collect());
    let (_, connection) = relay.holder;
    let (message, _) = relay.granted(connection);
    let bytes = message.encode().unwrap();
    assert!(
        (3900..=MAX_RELAY_MESSAGE).contains(&bytes.len()),
        "{}",
        bytes.len()
    );
}

#[test]
fn a_listing_has_the_bytes_of_open_and_of_ended_circuits_since_the_slot_was_granted() {
    let mut relay = relay();
    let (holder, connection) = relay.holder;
    let bytes = |relay: &Relay| relay.server.slots(relay.now)[0].bytes;
    let (first, _, meter) = relay.open_metered();
    let accepted = Some(StopMessage::Status(Status::Ok));
    relay.server.handle_stop(relay.now, first, accepted);
    meter.add(crate::Direction::ToDestination, 10);
    meter.add(crate::Direction::ToSource, 5);
    assert_eq!(bytes(&relay), 15);
    let slot = relay.server.slots(relay.now).remove(0);
    assert_eq!((slot.peer, slot.address), (holder, None));
    assert_eq!((slot.state, slot.circuits), (SlotState::Active, 1));
    assert_eq!(slot.expires_in, Duration::from_secs(3600));
    relay.server.handle_closed(relay.now, first);
    assert_eq!(bytes(&relay), 15, "counted once");
    let (second, _, meter) = relay.open_metered();
    meter.add(crate::Direction::ToSource, 100);
    assert_eq!(bytes(&relay), 115);

    // A new slot begins at nothing, though a circuit of the old slot is still open.
    let table = relay.server.table_mut();
    table.handle_release(relay.now, connection).unwrap();
    relay.hop(connection, HopMessage::Reserve);
    assert_eq!(bytes(&relay), 0);
    meter.add(crate::Direction::ToSource, 3);
    assert_eq!(bytes(&relay), 3);
    relay.server.handle_closed(relay.now, second);
    assert_eq!(bytes(&relay), 3);
}

#[test]
fn terms_change_what_is_named_and_a_bad_one_changes_nothing() {
    let mut relay = relay();
    let terms = Terms {
        slots: Some(0),
        ttl_s: Some(60.0),
        ..Terms::default()
    };
    let all = relay.server.set_terms(&terms).unwrap();
    assert_eq!((all.slots, all.ttl_s), (Some(0), Some(60.0)));
    assert_eq!(all, relay.server.terms());
    let (_, connection) = relay.holder;
    assert_eq!(relay.status(connection, HopMessage::Reserve), 201);
    let bad = Terms {
        slots: Some(9),
        ttl_s: Some(0.5),
        ..Terms::default()
    };
    assert_eq!(relay.server.set_terms(&bad).unwrap_err().name, "ttl_s");
    assert_eq!(relay.server.terms(), all);
}

#[test]
fn a_relay_that_shuts_down_refuses_requests_and_keeps_circuits() {
    let mut relay = relay();
    let (circuit, _) = relay.open();
    relay.server.close();
    let ((holder, connection), (_, source)) = (relay.holder, relay.source);
    assert_eq!(relay.status(connection, HopMessage::Reserve), 201);
    assert_eq!(relay.status(source, HopMessage::Connect(holder)), 201);
    let accepted = Some(StopMessage::Status(Status::Ok));
    let answer = relay.server.handle_stop(relay.now, circuit, accepted);
    assert!(matches!(answer, StopAnswer::Splice { .. }), "{answer:?}");
}

#[test]
fn a_renewal_soon_after_the_last_costs_no_signature_and_its_voucher_is_valid() {
    let mut relay = relay();
    let (holder, connection) = relay.holder;
    let (mut signatures, mut answers) = (0, 0);
    // Every minute for a day.
    for _ in 0..24 * 60 {
        let (message, is_signed) = relay.granted(connection);
        let unix = UNIX + (relay.now - relay.start).as_secs();
        let HopMessage::Status {
            reservation: Some(reservation),
            ..
        } = message
        else {
            panic!("{message:?}");
        };
        let sealed = reservation.voucher.expect("the key signs");
        let voucher = Voucher::open(&sealed, relay.server.local, holder, unix).unwrap();
        assert_eq!(reservation.expire, unix + 3600);
        let early = reservation.expire - voucher.expiration;
        assert!(early <= 450, "{early} s before the slot");
        signatures += u32::from(is_signed);
        answers += 1;
        relay.now += Duration::from_secs(60);
    }
    println!("{signatures} signatures for {answers} renewals");
    assert_eq!(signatures, 180, "one in eight");
    // A holder that renews at three quarters of its time has a new voucher each time.
    for _ in 0..3 {
        relay.now += Duration::from_secs(2700);
        assert!(relay.granted(connection).1);
    }
}

#[test]
fn vouchers_of_peers_that_hold_no_slot_are_forgotten() {
    let mut relay = relay();
    for number in 100..400 {
        let connection = ConnectionId(number);
        let table = relay.server.table_mut();
        table.handle_connected(relay.now, connection, &peer(), Origin::Local);
        assert!(relay.granted(connection).1);
        let table = relay.server.table_mut();
        table.handle_release(relay.now, connection).unwrap();
        table.handle_disconnected(relay.now, connection);
        assert!(relay.server.vouchers.len() <= 16);
    }
}

#[test]
fn a_holder_that_floods_with_renewals_is_refused_costs_one_signature_and_keeps_its_slot() {
    let mut relay = relay();
    let (_, connection) = relay.holder;
    assert!(relay.granted(connection).1);
    let mut granted = 0;
    for _ in 0..10_000 {
        match relay.hop(connection, HopMessage::Reserve) {
            HopAnswer::Grant(grant) => {
                assert!(grant.answer().signed.is_none(), "signed again");
                granted += 1;
            }
            HopAnswer::Reply { message, refusal } => {
                assert_eq!(message, HopMessage::refusal(Status::ReservationRefused));
                assert_eq!(refusal, Some(Refusal::RenewRate));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(granted, 8);
    let slot = relay.server.slots(relay.now).remove(0);
    assert_eq!(slot.state, SlotState::Active);
    relay.now += Duration::from_secs(10);
    assert!(!relay.granted(connection).1);
}
