use std::{pin::pin, sync::Arc, task::Poll};

use libp2p_identity::Keypair;
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::{Caps, Origin, Table, TableConfig, Way};

struct Relay {
    server: Arc<Mutex<Server>>,
    id: PeerId,
    holder: (PeerId, ConnectionId),
    source: (PeerId, ConnectionId),
}

fn relay_of(config: TableConfig) -> Relay {
    let keypair = Keypair::generate_ed25519();
    let id = keypair.public().to_peer_id();
    let table = Table::new(now(), 1, Caps::default(), config);
    let mut server = Server::new(table, keypair, Vec::new());
    let mut connect = || {
        let peer = Keypair::generate_ed25519().public().to_peer_id();
        let table = server.table_mut();
        (peer, table.handle_connected(now(), &peer, Origin::Local))
    };
    let (holder, source) = (connect(), connect());
    Relay {
        server: Arc::new(Mutex::new(server)),
        id,
        holder,
        source,
    }
}

impl Relay {
    /// Serves a new hop stream, of which the other end is given, and opens the stop stream that is given.
    fn serve(
        &self,
        connection: ConnectionId,
        stop: Option<DuplexStream>,
    ) -> (DuplexStream, tokio::task::JoinHandle<Relayed<DuplexStream>>) {
        let (theirs, mut ours) = duplex(8000);
        let server = self.server.clone();
        let task = tokio::spawn(async move {
            let open = async |_| stop.ok_or(io::ErrorKind::NotConnected.into());
            relay(&server, connection, &mut ours, open, &Meter::default()).await
        });
        (theirs, task)
    }

    async fn reserve(&self) {
        let (holder, connection) = self.holder;
        let (mut hop, task) = self.serve(connection, None);
        let answer = reserve(&mut hop, self.id, holder).await;
        let Answer::Granted { reservation, .. } = answer else {
            panic!("{answer:?}");
        };
        assert!(reservation.voucher.is_some(), "it is worth something");
        assert!(matches!(
            task.await.unwrap(),
            Relayed::Answered { refusal: None }
        ));
    }

    fn circuits(&self) -> usize {
        self.server.lock().unwrap().table().usage().circuits
    }
}

#[tokio::test]
async fn a_circuit_carries_what_is_sent_both_ways_from_its_first_byte_on() {
    let config = TableConfig::default().with_circuit_limits(None, None);
    let relay = relay_of(config);
    relay.reserve().await;
    let (stop, mut destination) = duplex(8000);
    let (mut source, task) = relay.serve(relay.source.1, Some(stop));
    let payload: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let (there, back) = (payload.clone(), payload.clone());
    let from = async {
        let limit = connect(&mut source, relay.holder.0, MESSAGE).await.unwrap();
        assert_eq!(limit, None);
        source.write_all(&there).await.unwrap();
        source.shutdown().await.unwrap();
        let mut heard = Vec::new();
        source.read_to_end(&mut heard).await.unwrap();
        assert!(heard == back);
    };
    let to = async {
        let (peer, limit) = accept(&mut destination, Ok(())).await.unwrap();
        assert_eq!((peer, limit), (relay.source.0, None));
        let mut heard = Vec::new();
        destination.read_to_end(&mut heard).await.unwrap();
        assert!(heard == payload);
        destination.write_all(&heard).await.unwrap();
        destination.shutdown().await.unwrap();
    };
    tokio::join!(from, to);
    let relayed = task.await.unwrap();
    assert!(
        matches!(
            relayed,
            Relayed::Spliced {
                end: SpliceEnd::Done,
                ..
            }
        ),
        "{relayed:?}"
    );
    assert_eq!(relay.circuits(), 0);
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
    let (limit, accepted) = tokio::join!(
        connect(&mut source, relay.holder.0, MESSAGE),
        accept(&mut destination, Ok(()))
    );
    let told = Some(Limit::new(None, Some(1000)));
    assert_eq!((limit.unwrap(), accepted.unwrap().1), (told, told));
    assert_eq!(relay.circuits(), 1);
    source.write_all(&[1; 1001]).await.unwrap();
    let Relayed::Spliced { end, .. } = task.await.unwrap() else {
        panic!("no circuit");
    };
    assert!(matches!(end, SpliceEnd::Data { way: Way::There }));
    let mut heard = Vec::new();
    destination.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, [1; 1000]);
    assert_eq!(relay.circuits(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_refuses_vanishes_or_says_nothing_is_a_203() {
    for way in ["refuses", "vanishes", "says nothing", "cannot be reached"] {
        let relay = relay_of(TableConfig::default());
        relay.reserve().await;
        let (stop, mut destination) = duplex(8000);
        let stop = (way != "cannot be reached").then_some(stop);
        let (mut source, task) = relay.serve(relay.source.1, stop);
        let answer = async {
            match way {
                "refuses" => {
                    let refused = accept(&mut destination, Err(Status::PermissionDenied)).await;
                    assert!(matches!(refused, Err(DriveError::Refused(_))));
                }
                "vanishes" => drop(destination),
                _ => {}
            }
        };
        let connect = connect(&mut source, relay.holder.0, Duration::from_secs(60));
        let (refused, ()) = tokio::join!(connect, answer);
        let failed = matches!(refused, Err(DriveError::Refused(Status::ConnectionFailed)));
        assert!(failed, "{way}: {refused:?}");
        assert!(matches!(task.await.unwrap(), Relayed::Answered { .. }));
        assert_eq!(relay.circuits(), 0, "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_is_not_waited_for() {
    let relay = relay_of(TableConfig::default());
    let (mut hop, task) = relay.serve(relay.source.1, None);
    hop.write_all(&[2, 8]).await.unwrap();
    let started = Instant::now();
    let relayed = task.await.unwrap();
    assert!(
        matches!(relayed, Relayed::Failed(DriveError::TimedOut(_))),
        "{relayed:?}"
    );
    assert_eq!(started.elapsed(), MESSAGE);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_request_is_answered_so() {
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
        assert!(matches!(task.await.unwrap(), Relayed::Answered { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_dropped_at_any_point_keeps_no_circuit() {
    for polls in 0..40 {
        let relay_side = relay_of(TableConfig::default());
        relay_side.reserve().await;
        let (stop, mut destination) = duplex(8000);
        let (mut source, mut ours) = duplex(8000);
        let (server, from) = (relay_side.server.clone(), relay_side.source.1);
        let meter = Meter::default();
        {
            let open = async |_| Ok(stop);
            let mut task = pin!(relay(&server, from, &mut ours, open, &meter));
            let mut source = pin!(connect(&mut source, relay_side.holder.0, MESSAGE));
            let mut destination = pin!(accept(&mut destination, Ok(())));
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
async fn a_relay_s_nonsense_is_a_failure_or_a_refusal() {
    let local = Keypair::generate_ed25519().public().to_peer_id();
    let of_ok = HopMessage::refusal(Status::Ok).encode().unwrap();
    let full = HopMessage::refusal(Status::ResourceLimitExceeded);
    let full = full.encode().unwrap();
    let unexpected = HopMessage::Reserve.encode().unwrap();
    for (bytes, expected) in [
        (of_ok, Answer::Failed("granted, but not what".into())),
        (full, Answer::Refused(Status::ResourceLimitExceeded)),
        (
            unexpected,
            Answer::Failed("a message that has no place here".into()),
        ),
        (
            vec![0],
            Answer::Failed("not a message: a message without a type".into()),
        ),
        (vec![9, 8], Answer::Failed("nothing within 15s".into())),
    ] {
        let (mut hop, mut relay) = duplex(1000);
        relay.write_all(&bytes).await.unwrap();
        let answer = reserve(&mut hop, local, local).await;
        assert_eq!(answer, expected);
    }
}
