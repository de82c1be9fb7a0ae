use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Peer(u64);

impl From<Peer> for Vec<u8> {
    fn from(peer: Peer) -> Self {
        peer.0.to_be_bytes().to_vec()
    }
}

const LIMITS: Limits = Limits {
    k: 4,
    alpha: 2,
    beta: 2,
    reach: None,
};

fn key(peer: u64) -> Key {
    Key::of(peer.to_be_bytes())
}

fn target() -> Key {
    Key::of("target")
}

fn info(peer: u64) -> PeerInfo<Peer, ()> {
    PeerInfo::new(Peer(peer), vec![()])
}

fn lookup(limits: Limits, seeds: impl IntoIterator<Item = u64>) -> Lookup<Peer, ()> {
    Lookup::new(
        target(),
        Key::of("local"),
        limits,
        seeds.into_iter().map(info),
    )
}

/// Peers by their distance from the target.
fn by_distance(peers: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut peers: Vec<u64> = peers.collect();
    peers.sort_by_key(|peer| key(*peer).distance(&target()));
    peers
}

fn take(lookup: &mut Lookup<Peer, ()>) -> Vec<(Distance, Ask, u64)> {
    std::iter::from_fn(|| lookup.next())
        .map(|(distance, ask, info)| (distance, ask, info.id.0))
        .collect()
}

fn found(lookup: &Lookup<Peer, impl Clone + PartialEq>) -> Vec<u64> {
    lookup
        .answerers()
        .map(|answerer| answerer.info.id.0)
        .collect()
}

#[test]
fn the_nearest_k_are_found_and_asked_alpha_at_a_time_until_beta_have_answered() {
    let peers = by_distance(0..12);
    let mut lookup = lookup(LIMITS, peers[8..].iter().copied());
    let first = take(&mut lookup);
    assert_eq!(
        first.iter().map(|asked| asked.2).collect::<Vec<_>>(),
        [peers[8], peers[9]]
    );
    let all = || peers.iter().copied().map(info).collect::<Vec<_>>();
    lookup.answered(first[0].0, Ask::Target, all());
    assert_eq!(
        take(&mut lookup)
            .iter()
            .map(|asked| asked.2)
            .collect::<Vec<_>>(),
        [peers[0]]
    );
    lookup.answered(first[1].0, Ask::Target, vec![]);
    let second = take(&mut lookup);
    assert_eq!(second[0].2, peers[1]);
    let distance = |peer: u64| key(peer).distance(&target());
    lookup.answered(distance(peers[0]), Ask::Target, all());
    assert_eq!(take(&mut lookup).len(), 1, "β have not answered");
    lookup.answered(distance(peers[1]), Ask::Target, all());
    assert_eq!(take(&mut lookup).len(), 1, "the rest of the nearest k");
    assert!(!lookup.is_done());
    lookup.answered(distance(peers[2]), Ask::Target, all());
    lookup.answered(distance(peers[3]), Ask::Target, all());
    assert!(lookup.is_done());
    assert_eq!(found(&lookup)[..4], peers[..4]);
    assert_eq!(lookup.answerers().next().unwrap().hops, 2);
}

#[test]
fn a_slow_peer_holds_nothing_up_and_its_late_answer_counts() {
    let peers = by_distance(0..3);
    let mut lookup = lookup(Limits { k: 2, ..LIMITS }, peers.iter().copied());
    let asked = take(&mut lookup);
    lookup.slow(asked[0].0, Ask::Target);
    lookup.answered(asked[1].0, Ask::Target, vec![]);
    assert_eq!(take(&mut lookup).len(), 1, "another peer takes its place");
    assert!(!lookup.is_done());
    lookup.answered(asked[0].0, Ask::Target, vec![]);
    assert!(lookup.is_done(), "the nearest two have answered");
    assert_eq!(found(&lookup), peers[..2]);
}

#[test]
fn within_the_reach_all_peers_are_asked_and_at_most_4k() {
    let peers = by_distance(0..200);
    for (within, asked) in [(10, 10), (16, 16), (40, 16)] {
        let reach = Some(key(peers[within - 1]).distance(&target()));
        let mut lookup = lookup(Limits { reach, ..LIMITS }, peers[..60].iter().copied());
        while let Some((distance, ask, _)) = lookup.next() {
            lookup.answered(distance, ask, vec![]);
        }
        assert!(lookup.is_done());
        assert_eq!(found(&lookup), peers[..asked]);
        assert_eq!(lookup.nearest(4).len(), asked);
    }
    assert_eq!(lookup(LIMITS, []).nearest(4).len(), 0);
}

#[test]
fn peers_in_a_crowd_are_asked_for_their_own_neighbours() {
    let peers = by_distance(0..4000);
    let reach = Some(key(peers[39]).distance(&target()));
    let mut lookup = lookup(
        Limits { reach, ..LIMITS },
        peers[..4].iter().chain(&peers[30..31]).copied(),
    );
    while let Some((distance, ask, _)) = lookup.next() {
        lookup.answered(distance, ask, vec![]);
    }
    assert!(lookup.scout(), "4 peers are within half of the reach");
    let (_, ask, asked) = lookup.next().unwrap();
    assert_eq!(
        (ask, asked.id.0),
        (Ask::Itself, peers[30]),
        "the farthest is first"
    );
    assert!(!lookup.scout(), "it scouts once");
    let mut calm = super::tests::lookup(Limits { reach, ..LIMITS }, peers[20..40].iter().copied());
    while let Some((distance, ask, _)) = calm.next() {
        calm.answered(distance, ask, vec![]);
    }
    assert!(!calm.scout());
}

#[test]
fn what_a_liar_named_is_forgotten_after_four_failures() {
    let peers = by_distance(0..100);
    let mut lookup = lookup(Limits { k: 20, ..LIMITS }, [peers[50], peers[60]]);
    let asked = take(&mut lookup);
    lookup.answered(
        asked[0].0,
        Ask::Target,
        peers[..20].iter().copied().map(info).collect(),
    );
    lookup.answered(asked[1].0, Ask::Target, vec![info(peers[40])]);
    let mut failed = 0;
    while let Some((distance, ask, info)) = lookup.next() {
        if info.id.0 == peers[40] {
            lookup.answered(distance, ask, vec![]);
            break;
        }
        failed += 1;
        lookup.failed(distance, ask);
    }
    assert!(failed <= 6, "{failed}");
    assert!(found(&lookup).contains(&peers[40]));
    assert!(lookup.is_done());
}

/// A lookup of peers with addresses.
fn with_addresses(seeds: [u64; 2]) -> Lookup<Peer, u8> {
    let seeds = seeds.map(|peer| PeerInfo::new(Peer(peer), vec![0]));
    Lookup::new(target(), Key::of("local"), LIMITS, seeds)
}

#[test]
fn a_peer_that_was_named_with_dead_addresses_is_asked_again_when_another_peer_names_it() {
    let peers = by_distance(0..12);
    let nearest = |addresses: &[u8]| vec![PeerInfo::new(Peer(peers[0]), addresses.to_vec())];
    for is_slow in [false, true] {
        let mut lookup = with_addresses([peers[10], peers[11]]);
        let seeds = [lookup.next().unwrap().0, lookup.next().unwrap().0];
        lookup.answered(seeds[0], Ask::Target, nearest(&[1, 2, 3, 4, 5, 6, 7, 8]));
        let (distance, ask, first) = lookup.next().unwrap();
        assert_eq!((first.id.0, first.addresses.len()), (peers[0], 8));
        match is_slow {
            true => lookup.slow(distance, ask),
            false => lookup.failed(distance, ask),
        }
        assert!(lookup.next().is_none());
        lookup.answered(seeds[1], Ask::Target, nearest(&[9]));
        let (again, ask, second) = lookup.next().unwrap();
        assert_eq!((again, second.addresses[0]), (distance, 9));
        assert!(!lookup.is_done());
        lookup.answered(again, ask, vec![]);
        assert!(lookup.is_done());
        assert_eq!(found(&lookup)[0], peers[0]);
    }
}

#[test]
fn addresses_that_arrive_while_a_peer_is_asked_are_used_when_the_request_fails_and_only_twice() {
    let peers = by_distance(0..12);
    let mut lookup = with_addresses([peers[10], peers[11]]);
    let seeds = [lookup.next().unwrap().0, lookup.next().unwrap().0];
    let nearest = |address| vec![PeerInfo::new(Peer(peers[0]), vec![address])];
    lookup.answered(seeds[0], Ask::Target, nearest(1));
    let mut asked = 0;
    while let Some((distance, ask, _)) = lookup.next() {
        asked += 1;
        lookup.answered(seeds[1], Ask::Target, nearest(10 + asked));
        lookup.failed(distance, ask);
        assert!(asked < 10);
    }
    assert_eq!(asked, 3);
    assert!(lookup.is_done());
}

#[test]
fn a_request_that_was_not_sent_is_tried_again_and_blames_nobody() {
    let peers = by_distance(0..100);
    let mut lookup = lookup(Limits { k: 20, ..LIMITS }, [peers[50]]);
    let seed = take(&mut lookup)[0].0;
    let named = peers[..10].iter().copied().map(info).collect();
    lookup.answered(seed, Ask::Target, named);
    let mut unsent = 0;
    while let Some((distance, ask, _)) = lookup.next() {
        unsent += 1;
        lookup.unsent(distance, ask);
        assert!(unsent < 100);
    }
    assert_eq!(unsent, 30, "each of the ten peers is tried three times");
    assert!(lookup.is_done());
    assert!(!lookup.candidates[&seed].lies());
}

proptest! {
    #[test]
    fn a_lookup_ends_whatever_the_answers_are_and_keeps_its_bounds(
        seed: u64, answers in prop::collection::vec((0u8..4, 0usize..60), 1..40), reach in prop::option::of(0.0f64..0.4),
    ) {
        let reach = reach.map(Distance::from_fraction);
        let mut lookup = lookup(Limits { reach, ..LIMITS }, (0..4).map(|peer| seed.wrapping_add(peer)));
        let (mut fresh, mut step, mut waiting) = (seed, 0, Vec::new());
        loop {
            while let Some((distance, ask, _)) = lookup.next() {
                waiting.push((distance, ask));
            }
            prop_assert!(lookup.waiting <= LIMITS.k);
            prop_assert!(lookup.candidates.len() <= MAX_CANDIDATES * LIMITS.k + MAX_REQUESTS * LIMITS.k);
            if lookup.is_done() && !lookup.scout() {
                break;
            }
            let Some((distance, ask)) = waiting.pop() else { continue };
            let (kind, names) = answers[step % answers.len()];
            step += 1;
            match kind {
                0 => lookup.failed(distance, ask),
                1 => lookup.slow(distance, ask),
                // Always new peers, of which half are nearer.
                _ => lookup.answered(distance, ask, (0..names).map(|_| { fresh = fresh.wrapping_add(1); info(fresh) }).collect()),
            }
            prop_assert!(step <= MAX_REQUESTS * LIMITS.k, "too many requests");
        }
    }
}
