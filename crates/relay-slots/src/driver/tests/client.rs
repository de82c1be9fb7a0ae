use super::*;

fn at() -> Multiaddr {
    "/ip4/192.0.2.1/tcp/1".parse().unwrap()
}

/// A client that has been told to ask this relay.
async fn client(relay: PeerId) -> RelayClient {
    let client = RelayClient::new(peer(), Client::new(1, ClientConfig::default()));
    client.handle_candidate(relay, &at(), None);
    let asked = client.next().await;
    let expected = ClientEvent::Ask {
        relay,
        addresses: vec![at()],
    };
    assert_eq!(asked, expected);
    client
}

fn granted() -> Vec<u8> {
    let message = HopMessage::Status {
        status: Status::Ok,
        reservation: Some(Reservation::new(u64::MAX, Vec::new(), None)),
        limit: None,
    };
    message.encode().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_does_not_say_where_it_is_is_announced_where_it_was_reached() {
    let relay = peer();
    let client = client(relay).await;
    let (hop, mut theirs) = duplex(1000);
    theirs.write_all(&granted()).await.unwrap();
    let opened = async { Ok::<_, Infallible>((hop, at())) };
    client.ask(relay, opened).await;
    let circuit: Multiaddr = format!("{}/p2p/{relay}/p2p-circuit", at()).parse().unwrap();
    let ClientEvent::Granted { addresses, .. } = client.next().await else {
        panic!("no slot");
    };
    assert_eq!(addresses, std::slice::from_ref(&circuit));
    assert_eq!(
        (client.addresses(), client.held()),
        (vec![circuit], vec![relay])
    );
    let mut request = Vec::new();
    theirs.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, HopMessage::Reserve.encode().unwrap());

    client.close();
    let lost = client.next().await;
    assert!(matches!(lost, ClientEvent::Lost { .. }), "{lost:?}");
    assert!(client.addresses().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_cannot_be_reached_or_does_not_answer_has_failed_in_time() {
    let within = ClientConfig::default().answer;
    let relay = peer();
    let failed = async |client: &RelayClient| match client.next().await {
        ClientEvent::Failed { error, .. } => error,
        other => panic!("{other:?}"),
    };
    let unreachable = client(relay).await;
    let refused = async { Err::<(DuplexStream, Multiaddr), _>("connection refused") };
    unreachable.ask(relay, refused).await;
    let reason = "connection refused".to_owned();
    let error = failed(&unreachable).await;
    assert_eq!(error, AskError::Unreachable { reason });

    let never_connected = client(relay).await;
    let started = Instant::now();
    let opening = std::future::pending::<Result<(DuplexStream, Multiaddr), Infallible>>();
    never_connected.ask(relay, opening).await;
    assert_eq!(started.elapsed(), within);
    let error = failed(&never_connected).await;
    assert_eq!(error, AskError::NoAnswer { within });
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_told_before_a_stream_that_never_accepts_its_end_is_given_up() {
    let relay = peer();
    let client = client(relay).await;
    let (hop, mut theirs) = duplex(1000);
    theirs.write_all(&granted()).await.unwrap();
    let started = Instant::now();
    let opened = async { Ok::<_, Infallible>((NeverEnds(hop), at())) };
    let told = async {
        let event = client.next().await;
        assert!(matches!(event, ClientEvent::Granted { .. }), "{event:?}");
        started.elapsed()
    };
    let asked = timeout(Duration::from_secs(600), client.ask(relay, opened));
    let (asked, told) = tokio::join!(asked, told);
    asked.expect("it ends");
    assert_eq!((told, started.elapsed()), (Duration::ZERO, CLOSE));
}

#[tokio::test(start_paused = true)]
async fn a_relay_s_nonsense_is_a_failure_or_a_refusal() {
    let local = peer();
    let of_ok = HopMessage::refusal(Status::Ok).encode().unwrap();
    let full = HopMessage::refusal(Status::ResourceLimitExceeded);
    let full = full.encode().unwrap();
    let unexpected = HopMessage::Reserve.encode().unwrap();
    let within = MESSAGE;
    for (bytes, expected) in [
        (of_ok, Answer::Failed(AskError::Empty)),
        (full, Answer::Refused(Status::ResourceLimitExceeded)),
        (unexpected, Answer::Failed(AskError::Unexpected)),
        (
            vec![0],
            Answer::Failed(AskError::Malformed(WireError::MissingType)),
        ),
        (vec![9, 8], Answer::Failed(AskError::NoAnswer { within })),
    ] {
        let (mut hop, mut relay) = duplex(1000);
        relay.write_all(&bytes).await.unwrap();
        let answer = reserve(&mut hop, local, local).await;
        assert_eq!(answer, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_takes_its_time_for_a_circuit_has_all_in_all_what_it_was_given() {
    let within = Duration::from_secs(3);
    // The stream takes one byte, so that the request itself is stuck.
    for holds in [1, 1000] {
        let (hop, _relay) = duplex(holds);
        let started = Instant::now();
        let late = connect(hop, peer(), within).await;
        assert!(matches!(late, Err(DriveError::TimedOut(told)) if told == within));
        assert_eq!(started.elapsed(), within);
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_was_never_asked_is_told_so_before_its_stream_closes() {
    let (mut stop, mut relay) = duplex(1000);
    let peer = peer();
    let connect = StopMessage::Connect { peer, limit: None };
    relay.write_all(&connect.encode().unwrap()).await.unwrap();
    let refused = refuse(&mut stop).await;
    let status = Status::PermissionDenied;
    assert!(matches!(refused, Err(DriveError::Refused(told)) if told == status));
    let mut answer = Vec::new();
    let read = timeout(MESSAGE, relay.read_to_end(&mut answer)).await;
    read.expect("the stream is ended").unwrap();
    assert_eq!(answer, StopMessage::Status(status).encode().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_opens_a_stream_and_sends_half_a_message_has_five_seconds() {
    let (mut stop, mut relay) = duplex(1000);
    relay.write_all(&[9, 8]).await.unwrap();
    let started = Instant::now();
    let late = refuse(&mut stop).await;
    assert!(
        matches!(late, Err(DriveError::TimedOut(told)) if told == REQUEST),
        "{late:?}"
    );
    assert_eq!(started.elapsed(), REQUEST);
}

#[tokio::test(start_paused = true)]
async fn an_offered_peer_is_examined_in_time_and_asked_if_it_is_a_relay() {
    let config = ClientConfig::default().with_auto(1);
    let within = config.answer;
    let client = RelayClient::new(peer(), Client::new(1, config));
    assert_eq!(client.next().await, ClientEvent::Wanted { count: 16 });
    let (silent, relay) = (peer(), peer());
    client.handle_offered(silent, &[at()]);
    let examine = |relay| ClientEvent::Examine {
        relay,
        addresses: vec![at()],
    };
    assert_eq!(client.next().await, examine(silent));
    let started = Instant::now();
    client.examine(silent, std::future::pending()).await;
    assert_eq!(started.elapsed(), within);
    assert_eq!(client.next().await, ClientEvent::Released { relay: silent });

    client.handle_offered(relay, &[at()]);
    assert_eq!(client.next().await, examine(relay));
    client.examine(relay, async { Some(true) }).await;
    let addresses = vec![at()];
    assert_eq!(client.next().await, ClientEvent::Ask { relay, addresses });
    client.handle_identified(&relay, false);
    client.handle_removed(&relay);
    assert!(client.held().is_empty());
}
