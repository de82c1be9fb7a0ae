use super::*;

#[tokio::test]
async fn a_circuit_carries_what_is_sent_in_both_directions_from_its_first_byte_on() {
    let config = TableConfig::default().with_circuit_limits(None, None);
    let relay = relay_of(config);
    relay.reserve().await;
    let (stop, mut destination) = duplex(8000);
    let (mut source, task) = relay.serve(relay.source.1, Some(stop));
    let payload: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let (there, back) = (payload.clone(), payload.clone());
    let from = async {
        let circuit = connect(&mut source, relay.holder.0, MESSAGE).await.unwrap();
        assert_eq!(circuit.peer, relay.holder.0);
        assert_eq!(circuit.stream.allowance().limit(), None);
        let mut source = circuit.stream;
        source.write_all(&there).await.unwrap();
        source.shutdown().await.unwrap();
        let mut heard = Vec::new();
        source.read_to_end(&mut heard).await.unwrap();
        assert!(heard == back);
    };
    let to = async {
        let circuit = accept(&mut destination).await.unwrap();
        assert_eq!(circuit.peer, relay.source.0);
        let mut destination = circuit.stream;
        let mut heard = Vec::new();
        destination.read_to_end(&mut heard).await.unwrap();
        assert!(heard == payload);
        destination.write_all(&heard).await.unwrap();
        destination.shutdown().await.unwrap();
    };
    tokio::join!(from, to);
    let served = task.await.unwrap();
    let Served::Carried { end, bytes } = served else {
        panic!("{served:?}");
    };
    assert!(matches!(end, SpliceEnd::Done), "{end:?}");
    assert_eq!((bytes, relay.circuits()), (200_000, 0));
    assert_eq!(relay.server.slots()[0].bytes, 200_000);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_message_at_once_is_the_circuit_s() {
    let relay = relay_of(TableConfig::default());
    relay.reserve().await;
    let (stop, mut destination) = duplex(8000);
    let (mut source, task) = relay.serve(relay.source.1, Some(stop));
    let connect = HopMessage::Connect(relay.holder.0).encode().unwrap();
    source
        .write_all(&[&connect[..], b"from the source"].concat())
        .await
        .unwrap();
    let accept = StopMessage::Status(Status::Ok).encode().unwrap();
    let both = [&accept[..], b"from the destination"].concat();
    destination.write_all(&both).await.unwrap();

    let answer = HopMessage::decode(&read(&mut source, MESSAGE).await.unwrap()).unwrap();
    assert!(matches!(
        answer,
        HopMessage::Status {
            status: Status::Ok,
            ..
        }
    ));
    read(&mut destination, MESSAGE).await.unwrap();
    let hear = async |stream: &mut DuplexStream, length| {
        let mut heard = vec![0; length];
        let read = timeout(MESSAGE, stream.read_exact(&mut heard)).await;
        read.expect("it comes").unwrap();
        String::from_utf8(heard).unwrap()
    };
    assert_eq!(hear(&mut destination, 15).await, "from the source");
    assert_eq!(hear(&mut source, 20).await, "from the destination");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_the_circuit_is_over_and_given_back() {
    let config = TableConfig::default().with_circuit_limits(None, Some(1000));
    let relay = relay_of(config);
    relay.reserve().await;
    let (stop, mut destination) = duplex(8000);
    let (mut source, task) = relay.serve(relay.source.1, Some(stop));
    let (connected, accepted) = tokio::join!(
        connect(&mut source, relay.holder.0, MESSAGE),
        accept(&mut destination)
    );
    let told = Some(Limit::new(None, Some(1000)));
    for circuit in [connected.unwrap(), accepted.unwrap()] {
        assert_eq!(circuit.stream.allowance().limit(), told);
    }
    assert_eq!(relay.circuits(), 1);
    source.write_all(&[1; 1001]).await.unwrap();
    let Served::Carried { end, bytes } = task.await.unwrap() else {
        panic!("no circuit");
    };
    let direction = Direction::ToDestination;
    assert!(matches!(end, SpliceEnd::Data { direction: at } if at == direction));
    let mut heard = Vec::new();
    destination.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, [1; 1000]);
    assert_eq!((bytes, relay.circuits()), (1000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_refuses_vanishes_or_says_nothing_is_a_203() {
    for case in ["refuses", "vanishes", "says nothing", "cannot be reached"] {
        let relay = relay_of(TableConfig::default());
        relay.reserve().await;
        let (stop, mut destination) = duplex(8000);
        let stop = (case != "cannot be reached").then_some(stop);
        let (mut source, task) = relay.serve(relay.source.1, stop);
        let answer = async {
            match case {
                "refuses" => {
                    let refused = refuse(&mut destination).await;
                    assert!(matches!(refused, Err(DriveError::Refused(_))));
                }
                "vanishes" => drop(destination),
                _ => {}
            }
        };
        let connect = connect(&mut source, relay.holder.0, Duration::from_secs(60));
        let (refused, ()) = tokio::join!(connect, answer);
        let failed = matches!(refused, Err(DriveError::Refused(Status::ConnectionFailed)));
        assert!(failed, "{case}: {refused:?}");
        let served = task.await.unwrap();
        let status = Status::ConnectionFailed;
        let told = matches!(served, Served::Answered { status: told, .. } if told == status);
        assert!(told, "{case}: {served:?}");
        assert_eq!(relay.circuits(), 0, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_is_not_waited_for() {
    let relay = relay_of(TableConfig::default());
    let (mut hop, task) = relay.serve(relay.source.1, None);
    hop.write_all(&[2, 8]).await.unwrap();
    let started = Instant::now();
    let served = task.await.unwrap();
    assert!(
        matches!(served, Served::Failed(DriveError::TimedOut(_))),
        "{served:?}"
    );
    assert_eq!(started.elapsed(), REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_hop_stream_that_never_accepts_its_end_is_given_up_in_time() {
    let relay = relay_of(TableConfig::default());
    let (mut hop, ours) = duplex(8000);
    let request = HopMessage::Reserve.encode().unwrap();
    hop.write_all(&request).await.unwrap();
    let open = async |_| Err::<DuplexStream, ()>(());
    let started = Instant::now();
    let served = relay.server.serve(relay.holder.1, NeverEnds(ours), open);
    let served = timeout(Duration::from_secs(600), served).await;
    assert!(matches!(served, Ok(Served::Answered { .. })), "{served:?}");
    assert_eq!(started.elapsed(), CLOSE);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_request_are_answered_with_their_status() {
    for (bytes, status) in [
        (&[1, 0xff][..], Status::MalformedMessage),
        (&[0xff, 0xff, 0xff], Status::MalformedMessage),
        (&[5, 8, 2, 0x28, 0xc9, 1], Status::UnexpectedMessage),
    ] {
        let relay = relay_of(TableConfig::default());
        let (mut hop, task) = relay.serve(relay.source.1, None);
        hop.write_all(bytes).await.unwrap();
        let answer = HopMessage::decode(&read(&mut hop, MESSAGE).await.unwrap()).unwrap();
        assert_eq!(answer, HopMessage::refusal(status));
        assert!(matches!(task.await.unwrap(), Served::Answered { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_dropped_at_any_point_keeps_no_circuit() {
    for polls in 0..40 {
        let relay_side = relay_of(TableConfig::default());
        relay_side.reserve().await;
        let (stop, mut destination) = duplex(8000);
        let (mut source, mut ours) = duplex(8000);
        let (server, from) = (&relay_side.server, relay_side.source.1);
        {
            let open = async |_| Ok::<_, Infallible>(stop);
            let mut task = pin!(server.serve(from, &mut ours, open));
            let mut source = pin!(connect(&mut source, relay_side.holder.0, MESSAGE));
            let mut destination = pin!(accept(&mut destination));
            let (mut connected, mut accepted) = (false, false);
            for _ in 0..polls {
                std::future::poll_fn(|cx| {
                    connected = connected || source.as_mut().poll(cx).is_ready();
                    let _: Poll<_> = task.as_mut().poll(cx);
                    accepted = accepted || destination.as_mut().poll(cx).is_ready();
                    Poll::Ready(())
                })
                .await;
            }
            assert!(polls < 10 || connected && accepted, "after {polls} polls");
        }
        assert_eq!(relay_side.circuits(), 0, "after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_probed_told_and_its_slot_freed_as_time_passes() {
    let config = TableConfig::default().with_ttl(Duration::from_secs(7200));
    let relay = relay_of(config);
    relay.reserve().await;
    let started = Instant::now();
    let Event::Probe { connection, within } = relay.server.next().await else {
        panic!("no probe");
    };
    assert_eq!(
        (connection, within),
        (relay.holder.1, Duration::from_secs(10))
    );
    assert!(started.elapsed() <= Duration::from_secs(30));
    relay.server.handle_probed(connection, true);
    let Event::Probe { connection, .. } = relay.server.next().await else {
        panic!("no probe");
    };
    let probed = Instant::now();
    let silent = relay.server.next().await;
    assert!(matches!(silent, Event::Silent { connection: at, .. } if at == connection));
    assert_eq!(probed.elapsed(), within);
    relay.server.handle_disconnected(connection);
    let freed = relay.server.next().await;
    assert!(matches!(freed, Event::Freed { peer, .. } if peer == relay.holder.0));
    assert_eq!(probed.elapsed(), within + Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn next_loses_nothing_when_it_is_dropped() {
    let relay = relay_of(TableConfig::default());
    relay.reserve().await;
    for _ in 0..3 {
        let early = timeout(Duration::from_secs(5), relay.server.next()).await;
        assert!(early.is_err(), "{early:?}");
    }
    assert!(matches!(relay.server.next().await, Event::Probe { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_is_cut_when_a_connection_that_carries_it_is_closed() {
    let relay = relay_of(TableConfig::default());
    let (_source, _destination, task) = relay.circuit().await;
    relay.server.handle_disconnected(relay.holder.1);
    let ended = relay.server.next().await;
    assert!(matches!(ended, Event::CircuitEnded { .. }), "{ended:?}");
    let served = timeout(Duration::from_secs(1), task).await;
    let served = served.expect("at once").unwrap();
    let cut = matches!(
        served,
        Served::Carried {
            end: SpliceEnd::Cut,
            ..
        }
    );
    assert!(cut, "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_what_is_held_arrives_and_nobody_waits_longer_than_told() {
    let second = Duration::from_secs(1);
    for reads in [true, false] {
        let relay = relay_of(TableConfig::default());
        let (mut source, mut destination, task) = relay.circuit().await;
        // The destination's stream holds 8000 bytes, and the pump holds the others.
        for bytes in [8000, 4000] {
            source.write_all(&vec![7; bytes]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let started = Instant::now();
        let hear = async {
            let mut heard = Vec::new();
            if reads {
                destination.read_to_end(&mut heard).await.unwrap();
            }
            heard
        };
        let (cut, heard) = tokio::join!(relay.server.shutdown(second), hear);
        let Served::Carried { end, .. } = task.await.unwrap() else {
            panic!("no circuit");
        };
        if reads {
            assert!(heard == [7; 12_000]);
            assert!(matches!(end, SpliceEnd::Closing), "{end:?}");
            assert_eq!((cut, started.elapsed()), (0, Duration::ZERO));
        } else {
            assert!(matches!(end, SpliceEnd::Cut), "{end:?}");
            assert_eq!((cut, started.elapsed()), (1, second));
        }
        assert_eq!(relay.circuits(), 0);
        let (mut hop, task) = relay.serve(relay.holder.1, None);
        let answer = reserve(&mut hop, relay.id, relay.holder.0).await;
        assert_eq!(answer, Answer::Refused(Status::ResourceLimitExceeded));
        let served = task.await.unwrap();
        let closing = matches!(
            served,
            Served::Answered {
                refusal: Some(Refusal::Closing),
                ..
            }
        );
        assert!(closing, "{served:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_still_opening_is_refused_at_shutdown() {
    let relay = relay_of(TableConfig::default());
    relay.reserve().await;
    let (stop, _destination) = duplex(8000);
    let (mut source, _task) = relay.serve(relay.source.1, Some(stop));
    let connecting = connect(&mut source, relay.holder.0, MESSAGE);
    let shutdown = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let started = Instant::now();
        let cut = relay.server.shutdown(Duration::from_secs(1)).await;
        assert_eq!((cut, started.elapsed()), (0, Duration::ZERO));
    };
    let (refused, ()) = tokio::join!(connecting, shutdown);
    let status = Status::ConnectionFailed;
    assert!(matches!(refused, Err(DriveError::Refused(told)) if told == status));
}

#[tokio::test]
async fn the_host_chooses_the_addresses_of_an_answer_from_those_of_the_relay() {
    let relay = relay_of(TableConfig::default());
    let [own, seen] = ["/ip4/10.0.0.2/tcp/1", "/ip4/192.0.2.1/tcp/2"].map(|at| at.parse().unwrap());
    relay.server.set_addresses(vec![own]);
    let (mut hop, ours) = tokio::io::duplex(4_096);
    let server = Arc::clone(&relay.server);
    let connection = relay.holder.1;
    let served = tokio::spawn(async move {
        let open = async |_| Err::<DuplexStream, _>(());
        let list = async |own: Vec<Multiaddr>| [vec![seen], own].concat();
        server
            .serve_listing(connection, ours, open, list, || ())
            .await
    });
    let answer = reserve(&mut hop, relay.id, relay.holder.0).await;
    let Answer::Granted { reservation, .. } = answer else {
        panic!("{answer:?}");
    };
    let listed = reservation.addresses.iter().map(ToString::to_string);
    let listed: Vec<String> = listed.collect();
    assert_eq!(listed.len(), 2);
    assert!(
        listed[0].starts_with("/ip4/192.0.2.1/tcp/2/p2p/"),
        "{listed:?}"
    );
    assert!(
        listed[1].starts_with("/ip4/10.0.0.2/tcp/1/p2p/"),
        "{listed:?}"
    );
    served.await.unwrap();
}

/// Fails if it is offered much room for a message that has only begun.
struct Thrifty(DuplexStream);

impl AsyncRead for Thrifty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        assert!(buf.remaining() <= 256, "{} bytes of room", buf.remaining());
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

#[tokio::test]
async fn the_claim_of_a_long_message_takes_no_memory_until_the_message_arrives() {
    let (mut theirs, ours) = duplex(8000);
    let long = [vec![0xff, 0x1f], vec![7; 4095]].concat();
    let mut ours = Thrifty(ours);
    let reading = read(&mut ours, MESSAGE);
    let (read, written) = tokio::join!(reading, theirs.write_all(&long));
    written.unwrap();
    assert_eq!(read.unwrap(), long[2..]);
}
