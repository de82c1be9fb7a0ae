mod departures;

use super::*;

const ME: u32 = 0;

struct Node {
    core: Membership,
    now: Instant,
    out: Vec<Out>,
}

impl Node {
    fn new() -> Self {
        let now = Instant::now();
        let core = Membership::new(now, ME, 1, MembershipConfig::default());
        Self {
            core,
            now,
            out: Vec::new(),
        }
    }

    fn hear(&mut self, from: u32, message: Swarm) -> Vec<Out> {
        self.core
            .handle_message(self.now, from, message, &mut self.out);
        std::mem::take(&mut self.out)
    }

    /// A node with five neighbours, 1 to 5.
    fn full() -> Self {
        let mut node = Self::new();
        for peer in 1..=5 {
            node.hear(peer, Swarm::Neighbor { high: false });
        }
        assert_eq!(node.core.neighbours().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        node
    }

    /// Lets time pass, without messages.
    fn wait(&mut self, time: Duration) -> Vec<Out> {
        let end = self.now + time;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.core.handle_timeout(self.now, &mut self.out);
        }
        self.now = end;
        std::mem::take(&mut self.out)
    }

    fn is_goodbye(out: &[Out], to: u32) -> bool {
        matches!(out, [.., Out::Goodbye(Goodbye { to: of, alive: true, .. })] if *of == to)
    }
}

#[test]
fn a_low_request_at_a_full_view_gets_other_peers_and_then_a_disconnect() {
    let mut node = Node::full();
    let out = node.hear(9, Swarm::Neighbor { high: false });
    assert!(Node::is_goodbye(&out, 9), "{out:?}");
    assert!(!node.core.is_neighbour(9));
}

#[test]
fn a_high_request_evicts_one_neighbour_which_is_never_one_of_the_two_oldest() {
    let mut node = Node::full();
    for stranger in 100..160 {
        node.now += Duration::from_secs(1);
        let out = node.hear(stranger, Swarm::Neighbor { high: true });
        assert_eq!(
            out.iter()
                .filter(|out| matches!(out, Out::Down(_, DownCause::Evicted)))
                .count(),
            1
        );
        assert!(node.core.is_neighbour(stranger));
        assert_eq!(node.core.neighbours().count(), 5);
    }
    assert_eq!(node.core.neighbours().take(2).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn strangers_evict_at_most_one_neighbour_per_second() {
    let mut node = Node::full();
    assert!(node.hear(100, Swarm::Join).contains(&Out::Up(100)));
    node.now += Duration::from_millis(999);
    assert!(!node.hear(101, Swarm::Join).contains(&Out::Up(101)));
    node.now += Duration::from_millis(1);
    assert!(
        node.hear(102, Swarm::Neighbor { high: true })
            .contains(&Out::Up(102))
    );
}

#[test]
fn an_answer_to_a_request_needs_no_answer_and_any_other_neighbor_gets_one() {
    let mut node = Node::new();
    assert_eq!(
        node.hear(1, Swarm::Neighbor { high: true }),
        [Out::Up(1), Out::Swarm(1, Swarm::Neighbor { high: true })]
    );
    assert_eq!(
        node.hear(1, Swarm::Neighbor { high: true }),
        [],
        "the answer to the answer"
    );
    assert_eq!(
        node.hear(1, Swarm::Neighbor { high: false }),
        [Out::Swarm(1, Swarm::Neighbor { high: false })]
    );
}

#[test]
fn what_is_pending_expires_after_half_a_second() {
    let mut node = Node::new();
    node.hear(1, Swarm::Neighbor { high: true });
    node.wait(Duration::from_millis(500));
    assert_eq!(
        node.hear(1, Swarm::Neighbor { high: true }).len(),
        1,
        "a new request"
    );
}

#[test]
fn an_eviction_clears_what_is_pending() {
    let mut node = Node::full();
    node.now += Duration::from_secs(1);
    let out = node.hear(100, Swarm::Join);
    let victim = out.iter().find_map(|out| match out {
        Out::Down(peer, _) => Some(*peer),
        _ => None,
    });
    // The answer of the victim was on its way. It counts as a new request, which is refused.
    let out = node.hear(victim.unwrap(), Swarm::Neighbor { high: false });
    assert!(!node.core.is_neighbour(victim.unwrap()));
    assert!(out.is_empty() || Node::is_goodbye(&out, victim.unwrap()));
}

#[test]
fn a_stranger_gets_one_answer_per_second_and_none_to_a_goodbye() {
    let mut node = Node::full();
    let contact = Swarm::Shuffle {
        origin: 9,
        nodes: vec![9],
        ttl: 0,
    };
    assert!(Node::is_goodbye(&node.hear(9, contact.clone()), 9));
    assert_eq!(node.hear(9, contact.clone()), []);
    node.now += Duration::from_secs(1);
    assert!(Node::is_goodbye(&node.hear(9, contact), 9));
    node.now += Duration::from_secs(5);
    assert_eq!(node.hear(9, Swarm::Disconnect { alive: true }), []);
    assert_eq!(node.hear(9, Swarm::ShuffleReply { nodes: vec![50] }), []);
    assert_eq!(node.core.remembered(), 1, "an unasked reply names nobody");
}

#[test]
fn a_silent_neighbour_is_probed_twice_and_given_up_after_four_seconds() {
    let mut node = Node::new();
    node.hear(1, Swarm::Neighbor { high: true });
    let out = node.wait(Duration::from_millis(3999));
    let probe = Out::Swarm(
        1,
        Swarm::Shuffle {
            origin: ME,
            nodes: vec![ME],
            ttl: 0,
        },
    );
    assert_eq!(out, [probe.clone(), probe]);
    assert!(
        node.wait(Duration::from_millis(1))
            .contains(&Out::Down(1, DownCause::TimedOut))
    );
}

#[test]
fn a_node_that_was_asleep_blames_no_neighbour() {
    let mut node = Node::new();
    node.hear(1, Swarm::Neighbor { high: true });
    node.wait(Duration::from_millis(2500));
    // The neighbour is probed, and then the host sleeps.
    node.now += Duration::from_secs(3600);
    node.core.handle_timeout(node.now, &mut node.out);
    assert!(node.core.is_neighbour(1));
    let lost = Out::Down(1, DownCause::TimedOut);
    assert!(!node.wait(Duration::from_millis(1999)).contains(&lost));
    assert!(node.wait(Duration::from_millis(1)).contains(&lost));
}

#[test]
fn a_refill_keeps_three_requests_in_flight() {
    let mut node = Node::new();
    node.hear(1, Swarm::Neighbor { high: true });
    let out = node.hear(
        1,
        Swarm::ShuffleReply {
            nodes: (10..20).collect(),
        },
    );
    assert_eq!(
        out.iter()
            .filter(|out| matches!(out, Out::Swarm(10.., Swarm::Neighbor { .. })))
            .count(),
        3
    );
}

#[test]
fn a_peer_that_was_set_aside_is_asked_at_high_priority_when_it_answers_again() {
    let mut node = Node::full();
    node.core.remember(9);
    node.core.handle_unreachable(node.now, 9, &mut node.out);
    assert_eq!(node.core.remembered(), 1);
    let out = node.hear(
        9,
        Swarm::Shuffle {
            origin: 9,
            nodes: vec![9],
            ttl: 0,
        },
    );
    assert_eq!(out, [Out::Swarm(9, Swarm::Neighbor { high: true })]);
}

#[test]
fn with_a_neighbour_a_join_only_adds_candidates_and_without_one_it_is_renewed() {
    let mut node = Node::new();
    let join = |node: &mut Node, peer| {
        node.core.handle_join(node.now, &[peer], &mut node.out);
        std::mem::take(&mut node.out)
    };
    assert_eq!(join(&mut node, 1), [Out::Swarm(1, Swarm::Join)]);
    assert_eq!(join(&mut node, 1), [Out::Swarm(1, Swarm::Join)], "renewed");
    node.hear(1, Swarm::Neighbor { high: true });
    assert_eq!(join(&mut node, 2), []);
    let out = node.hear(1, Swarm::Disconnect { alive: false });
    assert_eq!(out, [Out::Down(1, DownCause::Left)]);
    let out = node.wait(Duration::from_millis(1));
    assert!(out.contains(&Out::Swarm(2, Swarm::Join)), "{out:?}");
}

#[test]
fn walks_and_shuffles_with_65535_steps_end_after_sixteen() {
    let mut node = Node::full();
    let out = node.hear(
        1,
        Swarm::ForwardJoin {
            peer: 9,
            ttl: u16::MAX,
        },
    );
    assert!(matches!(
        out[..],
        [Out::Swarm(_, Swarm::ForwardJoin { peer: 9, ttl: 15 })]
    ));
    let out = node.hear(
        1,
        Swarm::Shuffle {
            origin: 9,
            nodes: vec![],
            ttl: u16::MAX,
        },
    );
    assert!(matches!(
        out[..],
        [Out::Swarm(
            _,
            Swarm::Shuffle {
                origin: 9,
                ttl: 15,
                ..
            }
        )]
    ));
}

#[test]
fn forward_joins_of_peers_that_do_not_answer_cause_three_requests_at_a_time() {
    let mut node = Node::full();
    let mut asked = 0;
    for peer in 100..200 {
        let out = node.hear(1, Swarm::ForwardJoin { peer, ttl: 0 });
        asked += out.len();
    }
    assert_eq!(asked, 3);
    node.wait(Duration::from_millis(500));
    let out = node.hear(1, Swarm::ForwardJoin { peer: 200, ttl: 0 });
    assert_eq!(out, [Out::Swarm(200, Swarm::Neighbor { high: true })]);
}

#[test]
fn joins_of_a_neighbour_start_walks_once_per_second() {
    let mut node = Node::full();
    let walks = |node: &mut Node| {
        let out = node.hear(1, Swarm::Join);
        let is_walk = |out: &&Out| matches!(out, Out::Swarm(_, Swarm::ForwardJoin { peer: 1, .. }));
        out.iter().filter(is_walk).count()
    };
    node.now += Duration::from_millis(999);
    assert_eq!(walks(&mut node), 0);
    node.now += Duration::from_millis(1);
    assert_eq!((walks(&mut node), walks(&mut node)), (4, 0));
}

#[test]
fn at_most_sixteen_requests_and_answers_are_pending() {
    let mut node = Node::full();
    for peer in 100..130 {
        node.core.remember(peer);
        node.core.handle_unreachable(node.now, peer, &mut node.out);
    }
    for peer in 100..130 {
        node.hear(peer, Swarm::ShuffleReply { nodes: vec![] });
        assert!(node.core.views.pending.len() <= 16);
    }
    assert_eq!(node.core.views.pending.len(), 16);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = Swarm> {
        let peer = || 0_u32..80;
        let nodes = || prop::collection::vec(0_u32..80, 0..32);
        prop_oneof![
            Just(Swarm::Join),
            (peer(), any::<u16>()).prop_map(|(peer, ttl)| Swarm::ForwardJoin { peer, ttl }),
            (peer(), nodes(), 0_u16..4).prop_map(|(origin, nodes, ttl)| Swarm::Shuffle {
                origin,
                nodes,
                ttl
            }),
            nodes().prop_map(|nodes| Swarm::ShuffleReply { nodes }),
            any::<bool>().prop_map(|high| Swarm::Neighbor { high }),
            any::<bool>().prop_map(|alive| Swarm::Disconnect { alive }),
        ]
    }

    proptest! {
        #[test]
        fn no_cap_is_ever_exceeded(steps in prop::collection::vec((0_u32..80, message(), 0_u64..400), 0..300)) {
            let mut node = Node::new();
            for (from, message, millis) in steps {
                node.hear(from, message);
                prop_assert!(node.core.views.pending.len() <= 16);
                node.wait(Duration::from_millis(millis));
                let active = node.core.neighbours().collect::<Vec<_>>();
                prop_assert!(active.len() <= 5 && !active.contains(&ME));
                prop_assert!(node.core.views.passive.len() <= 30 && node.core.views.aside.len() <= 30);
                for peer in &active {
                    prop_assert!(!node.core.views.passive.contains(peer));
                }
            }
        }
    }
}

#[test]
fn an_offered_peer_is_asked_and_displaces_no_peer_that_is_remembered() {
    let mut node = Node::new();
    node.core.handle_offer(node.now, &[7], &mut node.out);
    let asked = |out: &[Out], peer| {
        let asks = |out: &Out| matches!(out, Out::Swarm(to, Swarm::Neighbor { .. }) if *to == peer);
        out.iter().any(asks)
    };
    assert!(asked(&node.out, 7), "{:?}", node.out);

    let mut node = Node::full();
    let known = (100..130).collect::<Vec<_>>();
    node.core.handle_offer(node.now, &known, &mut node.out);
    node.core
        .handle_offer(node.now, &(200..300).collect::<Vec<_>>(), &mut node.out);
    let handles = node.core.handles().collect::<Vec<_>>();
    assert!(known.iter().all(|peer| handles.contains(peer)));
    assert!(handles.iter().all(|peer| *peer < 200), "{handles:?}");
    assert!(node.out.is_empty(), "the view of neighbours is full");
}

#[test]
fn an_offered_peer_that_was_set_aside_is_asked_again() {
    let mut node = Node::new();
    node.core.handle_offer(node.now, &[7], &mut node.out);
    let asks = |out: &Out| matches!(out, Out::Swarm(7, Swarm::Neighbor { .. }));
    assert_eq!(
        node.wait(Duration::from_secs(1))
            .iter()
            .filter(|out| asks(out))
            .count(),
        1
    );
    node.core.handle_offer(node.now, &[7], &mut node.out);
    assert!(node.out.iter().any(asks), "{:?}", node.out);
}
