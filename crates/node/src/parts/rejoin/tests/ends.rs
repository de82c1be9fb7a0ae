//! The ends of dials and of connections, and what is saved.

use super::*;
use crate::{
    dial_budget::DialBudget,
    part::{Circuits, DialRequest, Existing},
};

#[test]
fn only_a_close_by_this_node_s_choice_forgets_what_the_peer_has_announced() {
    use Closing::{
        Displaced, Handshake, Local, Lost, Refused, Remote, Shutdown, Silent, Stale, Superseded,
        TooLongTransient, Trimmed, Unresponsive, Violation,
    };
    for closing in [Local, Trimmed, Refused, Violation] {
        assert!(is_own_choice(closing), "{closing}");
    }
    let (code, others) = (None, [Lost, Silent, Stale, Unresponsive, Superseded]);
    let others = others.into_iter().chain([Remote { code }, Shutdown]);
    for closing in others.chain([Displaced, Handshake, TooLongTransient]) {
        assert!(!is_own_choice(closing), "{closing}");
    }
}

#[test]
fn a_node_is_ready_while_it_is_joined_or_degraded() {
    assert!(is_ready(State::Joined) && is_ready(State::Degraded));
    assert!(!is_ready(State::Joining) && !is_ready(State::Isolated));
}

/// Counts the dials that have not ended.
struct Dialing(Arc<AtomicUsize>);

impl Drop for Dialing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[tokio::test]
async fn the_dials_of_a_peer_end_when_the_peer_is_connected() {
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    let dialer = transport_tcp::wrap(Direct::default(), move |_, _, _| {
        counted.fetch_add(1, Relaxed);
        let dialing = Dialing(Arc::clone(&counted));
        async move {
            let _dialing = dialing;
            std::future::pending::<Result<ByteStream, transport_tcp::DialError>>().await
        }
    });
    let there = quick(BootstrapConfig::default());
    let nowhere: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let nowhere = nowhere.with(multiaddr::Protocol::P2p(there.peer_id()));
    let bootstrap = BootstrapConfig::default()
        .with_list([nowhere])
        .with_rejoin(once().with_dials(HOUR, 64, 4));
    let config = Config::default().with_dial_timeouts(HOUR, HOUR);
    let builder = Node::builder(Keypair::generate_ed25519());
    let builder = builder.config(config.with_bootstrap(bootstrap));
    let here = builder.dialer(Arc::new(dialer)).build().unwrap();
    until(|| count.load(Relaxed) == 1).await;
    let at = listen(&here).await;
    within(there.dial([at])).await.unwrap();
    until(|| count.load(Relaxed) == 0).await;
}

#[tokio::test]
async fn a_peer_is_not_lost_while_another_connection_to_it_is_open() {
    let config = BootstrapConfig::default;
    let (here, there) = (quick(config()), quick(config()));
    let at = listen(&there).await;
    let mut events = here.events();
    let first = within(here.dial([at.clone()])).await.unwrap();
    let part = part(&here);
    let second = part.context.dial(DialRequest {
        addresses: vec![at],
        expected: Some(there.peer_id()),
        origin: crate::part::Origin::Part,
        existing: Existing::Ignore,
        circuits: Circuits::Refused,
        until: None,
        budget: DialBudget::default(),
    });
    let second = within(second).await.unwrap();
    assert_ne!(first.id(), second.id());
    let ended = |event: &Event| matches!(event, Event::Disconnected { .. }).then_some(());
    wait(&mut events, ended).await;
    let connected = || {
        part.handle
            .with(|core, _| core.connected().copied().collect::<Vec<_>>())
    };
    assert_eq!(connected(), [there.peer_id()]);
    first.close();
    second.close();
    until(|| connected().is_empty()).await;
}

fn at(n: u8) -> Multiaddr {
    format!("/ip4/44.{n}.0.1/tcp/1").parse().unwrap()
}

/// The saved peers in their order: those that stayed longest are first.
async fn saved_in(path: &Path) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let (_store, loaded) = Store::open(path, StoreConfig::default());
    let (mut source, mut all) = (bootstrap::sources::saved(loaded), Vec::new());
    std::future::poll_fn(|cx| {
        while let Poll::Ready(Some(Found::Candidate(found))) = source.poll_found(cx) {
            all.push((found.peer.unwrap(), found.addresses));
        }
        Poll::Ready(())
    })
    .await;
    all
}

#[tokio::test]
async fn a_peer_is_saved_where_it_was_reached_and_where_it_can_be_reached_and_its_loss_changes_neither()
 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (store, _loaded) = Store::open(&path, StoreConfig::default());
    let (peer, stayed) = (PeerId::random(), Duration::from_secs(10));
    let lasted = RejoinEvent::Lasted {
        peer,
        stayed,
        address: Some(at(1)),
        addresses: vec![at(2), at(3)],
    };
    save(Some(&store), lasted);
    save(Some(&store), RejoinEvent::Lost { peer, stayed });
    assert!(store.close(Duration::from_secs(20)).await);
    let saved = saved_in(&path).await;
    assert_eq!(saved, [(peer, vec![at(1), at(2), at(3)])]);
}

#[tokio::test]
async fn the_stays_of_the_connections_that_are_open_at_the_end_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let config = BootstrapConfig::default().with_saved(&path);
    let here = builder(config).listen_first().build().unwrap();
    let part = part(&here);
    let engine = part.engine.lock().unwrap().take().unwrap();
    let now = Instant::now();
    let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
    let (long, short) = (PeerId::random(), PeerId::random());
    // The first peer was saved after 40 s, and the second one after 49 s.
    let told = part.handle.with(|core, _| {
        core.handle_connected(ago(100), &long, Some(at(1)));
        core.handle_timeout(ago(60));
        core.handle_connected(ago(59), &short, Some(at(2)));
        core.handle_timeout(ago(10));
        std::iter::from_fn(|| core.poll_event()).collect::<Vec<_>>()
    });
    told.into_iter()
        .for_each(|event| save(engine.store.as_ref(), event));
    part.finish(engine).await;
    let saved: Vec<PeerId> = saved_in(&path).await.into_iter().map(|one| one.0).collect();
    assert_eq!(saved, [long, short]);
}
