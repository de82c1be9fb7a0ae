//! Slots: those that a node grants as a relay, and those that it holds at relays.

use node::relay_slots::{
    Answer, SlotState, Status, driver, driver::DriveError, wire::HOP_PROTOCOL,
};

use super::*;

fn granted(event: ClientEvent) -> Option<()> {
    matches!(event, ClientEvent::Granted { .. }).then_some(())
}

fn renewed(event: ClientEvent) -> Option<()> {
    matches!(event, ClientEvent::Renewed { .. }).then_some(())
}

fn refused(event: ClientEvent) -> Option<Status> {
    match event {
        ClientEvent::Refused { status, .. } => {
            assert!(!status.meaning().is_empty());
            Some(status)
        }
        _ => None,
    }
}

/// The relay's only slot, once `wanted` says yes to it.
async fn slot(relay: &Node, wanted: impl Fn(&Slot) -> bool) -> Slot {
    within(async {
        loop {
            match &granted_by(relay)[..] {
                [slot] if wanted(slot) => return slot.clone(),
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_holder_of_the_only_slot_renews_it_and_a_newcomer_gets_it_after_the_grace() {
    let table = TableConfig::default()
        .with_ttl(Duration::from_secs(2))
        .with_grace(Duration::from_millis(500));
    let relay = relay(Caps::default().with_slots(1), table);
    let relay_at = listen(&relay, TCP).await;
    let holder = behind(&[&relay_at]);
    let mut holders = holder.events();
    reservation(&mut holders, granted).await;
    let held = slot(&relay, |_| true).await;
    assert_eq!(
        (held.peer, held.state),
        (holder.peer_id(), SlotState::Active)
    );
    assert_eq!(held.address, Some(Ipv4Addr::LOCALHOST.into()));

    let newcomer = behind(&[&relay_at]);
    let mut newcomers = newcomer.events();
    let status = reservation(&mut newcomers, refused).await;
    assert_eq!(status.code(), 201);
    // The relay is full, but a renewal needs no room.
    reservation(&mut holders, renewed).await;
    assert_eq!(slot(&relay, |_| true).await.peer, holder.peer_id());

    holder.shutdown().await;
    slot(&relay, |slot| slot.state == SlotState::Grace).await;
    assert_eq!(reservation(&mut newcomers, refused).await.code(), 201);
    reservation(&mut newcomers, granted).await;
    assert_eq!(slot(&relay, |_| true).await.peer, newcomer.peer_id());
}

#[tokio::test]
async fn a_peer_that_comes_back_within_the_grace_has_its_slot() {
    let relay = relay(Caps::default(), TableConfig::default());
    let relay_at = listen(&relay, TCP).await;
    let key = Keypair::generate_ed25519();
    let build = || {
        let relays = RelayConfig::default().with_reserve_at([relay_at.clone()]);
        let builder = Node::builder(key.clone()).config(Config::default().with_relay(relays));
        builder.build().unwrap()
    };
    let phone = build();
    slot(&relay, |slot| slot.state == SlotState::Active).await;
    phone.shutdown().await;
    slot(&relay, |slot| slot.state == SlotState::Grace).await;
    let phone = build();
    let kept = slot(&relay, |slot| slot.state == SlotState::Active).await;
    assert_eq!(kept.peer, phone.peer_id());
}

#[tokio::test]
async fn a_relay_that_restarts_is_asked_again() {
    let key = Keypair::generate_ed25519();
    let build = || {
        let relaying = RelayConfig::default().with_server(RelayServerConfig::default());
        let builder = Node::builder(key.clone()).config(Config::default().with_relay(relaying));
        builder.build().unwrap()
    };
    let relay = build();
    let relay_at = listen(&relay, TCP).await;
    let holder = behind(&[&relay_at]);
    let mut events = holder.events();
    reservation(&mut events, granted).await;
    relay.shutdown().await;
    let lost = |event| matches!(event, ClientEvent::Lost { .. }).then_some(());
    reservation(&mut events, lost).await;
    let relay = build();
    let plain = relay_at.iter().take(2).collect();
    within(relay.listen(plain)).await.unwrap();
    reservation(&mut events, granted).await;
    assert!(holder.listen_addresses().iter().any(is_circuit));
}

#[tokio::test]
async fn terms_change_while_the_relay_runs_and_no_slot_is_lost() {
    let table = TableConfig::default().with_ttl(Duration::from_secs(2));
    let relay = relay(Caps::default(), table);
    let relay_at = listen(&relay, TCP).await;
    let holder = behind(&[&relay_at]);
    let mut holders = holder.events();
    reservation(&mut holders, granted).await;
    let terms = |changed: &str| -> node::RelayTerms {
        relay
            .set_relay_terms(&serde_json::from_str(changed).unwrap())
            .unwrap()
            .unwrap()
    };
    assert_eq!(terms(r#"{"slots": 0}"#).slots, Some(0));
    reservation(&mut holders, renewed).await;

    let newcomer = behind(&[&relay_at]);
    let mut newcomers = newcomer.events();
    reservation(&mut newcomers, refused).await;
    assert_eq!(slot(&relay, |_| true).await.peer, holder.peer_id());
    terms(r#"{"slots": 2}"#);
    reservation(&mut newcomers, granted).await;
    assert_eq!(granted_by(&relay).len(), 2);
}

#[tokio::test]
async fn circuits_and_bytes_are_counted_in_the_slot_of_their_destination() {
    let (relay, _hidden, _seeker, connection) = circuit(TableConfig::default()).await;
    let open = slot(&relay, |slot| slot.circuits == 1).await;
    // At least the handshake.
    assert!(open.bytes > 1_000, "{open:?}");
    let (_, mut stream) = within(connection.open_limited(&[ECHO])).await.unwrap();
    stream.write_all(&[1; 5_000]).await.unwrap();
    within(stream.read_exact(&mut [0; 5_000])).await.unwrap();
    let more = slot(&relay, |slot| slot.bytes >= open.bytes + 10_000).await;
    connection.close();
    within(connection.closed()).await;
    let over = slot(&relay, |slot| slot.circuits == 0).await;
    assert!(over.bytes >= more.bytes, "{over:?}");
    #[cfg(feature = "metrics")]
    within(async {
        let wanted = [
            "bowline_relay_slots 1\n",
            "bowline_relay_circuits 0\n",
            "bowline_relay_circuits_ended_total 1\n",
            &format!("bowline_relay_bytes_total {}\n", over.bytes),
        ];
        while !wanted.iter().all(|line| relay.metrics().contains(line)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn no_peer_gets_a_slot_or_a_circuit_over_a_circuit() {
    let table = TableConfig::default().with_circuit_limits(None, None);
    let first = relay(Caps::default(), table);
    let relaying = RelayConfig::default()
        .with_reserve_at([listen(&first, TCP).await])
        .with_server(RelayServerConfig::default());
    let second = with(Config::default().with_relay(relaying));
    let at = reached_at(&second).await;
    let seeker = node();
    let connection = within(seeker.dial([at])).await.unwrap();
    assert_eq!(connection.route(), Route::Relayed(None));

    let (_, mut hop) = within(connection.open(&[HOP_PROTOCOL])).await.unwrap();
    let answer = driver::reserve(&mut hop, second.peer_id(), seeker.peer_id());
    let answer = within(answer).await;
    assert!(
        matches!(answer, Answer::Refused(Status::PermissionDenied)),
        "{answer:?}"
    );
    let (_, hop) = within(connection.open(&[HOP_PROTOCOL])).await.unwrap();
    let refused = driver::connect(hop, first.peer_id(), Duration::from_secs(30)).await;
    assert!(
        matches!(refused, Err(DriveError::Refused(Status::PermissionDenied))),
        "{refused:?}"
    );
    assert_eq!(second.slots().unwrap(), []);
}

#[tokio::test]
async fn an_autonomous_system_takes_no_more_than_its_share() {
    let caps = Caps::default()
        .with_slots_per_asn(1)
        .with_exempt_private(false);
    let server = RelayServerConfig::new(caps, TableConfig::default());
    let server = server.with_asn(|address| {
        assert_eq!(address, Ipv4Addr::LOCALHOST);
        Some(64_512)
    });
    let relaying = RelayConfig::default().with_server(server);
    let relay = with(Config::default().with_relay(relaying));
    let relay_at = listen(&relay, TCP).await;
    let first = behind(&[&relay_at]);
    reservation(&mut first.events(), granted).await;
    let second = behind(&[&relay_at]);
    let status = reservation(&mut second.events(), refused).await;
    assert_eq!(status.code(), 201);
}

#[tokio::test]
async fn a_peer_that_renews_from_a_full_address_keeps_its_slot_and_is_counted_once() {
    let caps = Caps::default()
        .with_exempt_private(false)
        .with_slots_per_ipv4(1, 16);
    let table = TableConfig::default().with_grace(Duration::from_millis(300));
    let relay = relay(caps, table);
    let relay_at = listen(&relay, TCP).await;
    let (here, there) = ([127, 1, 2, 1], [127, 1, 3, 1]);
    let key = Keypair::generate_ed25519();
    let relaying = || {
        let client = ClientConfig::default()
            .with_backoff(Duration::from_millis(50), Duration::from_millis(100));
        let relays = RelayConfig::default().with_client(client);
        relays.with_reserve_at([relay_at.clone()])
    };
    let phone = from_with(key.clone(), here, relaying());
    reached_at(&phone).await;
    let neighbour = from(there, relaying());
    reached_at(&neighbour).await;

    // It connects from the address that the neighbour's slot fills, before its old connection is gone.
    let moved = from_with(key, there, relaying());
    reached_at(&moved).await;
    phone.shutdown().await;
    let newcomer = from(here, relaying());
    let status = reservation(&mut newcomer.events(), refused).await;
    assert_eq!(status.code(), 201, "the slot counts where it was granted");
    let mut held: Vec<_> = granted_by(&relay).iter().map(|slot| slot.peer).collect();
    held.sort();
    let mut wanted = [moved.peer_id(), neighbour.peer_id()];
    wanted.sort();
    assert_eq!(held, wanted);

    // The slot's count goes with the phone's slot. No slot and no count are left behind.
    moved.shutdown().await;
    reached_at(&newcomer).await;
    neighbour.shutdown().await;
    newcomer.shutdown().await;
    within(async {
        while !granted_by(&relay).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_relay_tells_its_present_addresses_with_each_slot() {
    let relay = relay(Caps::default(), TableConfig::default());
    let seeker = node();
    let connection = within(seeker.dial([listen(&relay, TCP).await])).await;
    let connection = connection.unwrap();
    let second = listen(&relay, QUIC).await;
    let (_, mut hop) = within(connection.open(&[HOP_PROTOCOL])).await.unwrap();
    let answer = driver::reserve(&mut hop, relay.peer_id(), seeker.peer_id());
    let answer = within(answer).await;
    let Answer::Granted { reservation, .. } = &answer else {
        panic!("{answer:?}");
    };
    assert_eq!(reservation.addresses.len(), 2, "{reservation:?}");
    let plain: Multiaddr = second.iter().take(3).collect();
    let is_second = |address: &Multiaddr| address.iter().take(3).collect::<Multiaddr>() == plain;
    assert!(reservation.addresses.iter().any(is_second));
}

#[tokio::test]
async fn of_two_holders_that_are_probed_only_the_one_that_is_silent_loses_its_connection() {
    let often = Some(Duration::from_millis(100));
    let table = TableConfig::default().with_heartbeat(often, Duration::from_secs(3));
    let relay = relay(Caps::default(), table);
    let relay_at = listen(&relay, TCP).await;
    let alive = behind(&[&relay_at]);
    reached_at(&alive).await;
    let (path, kill) = fragile_path(&relay_at).await;
    let silent = behind(&[&path]);
    reached_at(&silent).await;
    let mut events = relay.events();
    kill.send(()).unwrap();
    // Both have been probed by then, the one that answers first.
    let (peer, reason) = wait(&mut events, |event| match event {
        Event::Disconnected { peer, reason, .. } => Some((peer, reason)),
        _ => None,
    })
    .await;
    assert_eq!((peer, reason), (silent.peer_id(), node::Closing::Silent));
    let state = |peer| {
        let slots = granted_by(&relay);
        slots.iter().find(|slot| slot.peer == peer).unwrap().state
    };
    assert_eq!(state(silent.peer_id()), SlotState::Grace);
    // It is probed all the time, and answers each time.
    assert_ne!(state(alive.peer_id()), SlotState::Grace);
}
