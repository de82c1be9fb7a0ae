use super::*;

fn id(number: u8) -> MessageId {
    MessageId::from_bytes([number; 32])
}

fn content(number: u8, round: u16) -> Gossip {
    let scope = Scope::Swarm(round);
    Gossip::Content {
        id: id(number),
        content: Bytes::from(vec![number; 10]),
        scope,
    }
}

struct Node {
    core: Broadcast,
    now: Instant,
}

impl Node {
    fn new(neighbours: u32, config: BroadcastConfig) -> Self {
        let now = Instant::now();
        let mut core = Broadcast::new(now, 1, config);
        (1..=neighbours).for_each(|peer| core.handle_up(peer));
        Self { core, now }
    }

    fn hear(&mut self, from: u32, message: Gossip) -> Vec<Out> {
        let mut out = Vec::new();
        self.core.handle_message(self.now, from, message, &mut out);
        out
    }

    fn wait(&mut self, time: Duration) -> Vec<Out> {
        let (end, mut out) = (self.now + time, Vec::new());
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.core.handle_timeout(self.now, &mut out);
        }
        self.now = end;
        out
    }

    fn publish(&mut self, number: u8) -> (Option<usize>, Vec<Out>) {
        let mut out = Vec::new();
        let bytes = Bytes::from(vec![number; 10]);
        (
            self.core
                .publish(self.now, id(number), bytes, true, &mut out),
            out,
        )
    }
}

fn ihave(number: u8, round: u16) -> Gossip {
    Gossip::IHave(vec![IHave {
        id: id(number),
        round,
    }])
}

#[test]
fn a_message_goes_to_the_others_at_once_and_a_duplicate_is_pruned() {
    let mut node = Node::new(3, BroadcastConfig::default());
    let out = node.hear(1, content(1, 4));
    assert_eq!(
        out[..2],
        [Out::Gossip(2, content(1, 5)), Out::Gossip(3, content(1, 5))]
    );
    assert!(matches!(out[2..], [Out::Received { from: 1, .. }]));
    assert_eq!(node.hear(2, content(1, 4)), [Out::Gossip(2, Gossip::Prune)]);
    assert_eq!(
        node.hear(2, content(1, 4)),
        [],
        "one Prune is enough for a while"
    );
    node.hear(1, content(2, 0));
    assert_eq!(
        node.wait(Duration::from_millis(5)),
        [Out::Gossip(2, ihave(2, 1))]
    );
}

#[test]
fn a_missing_message_is_asked_for_and_the_sources_take_turns() {
    let mut node = Node::new(3, BroadcastConfig::default());
    node.hear(1, ihave(1, 2));
    node.hear(2, ihave(1, 3));
    assert_eq!(node.wait(Duration::from_millis(159)), []);
    let graft = |peer, round| {
        Out::Gossip(
            peer,
            Gossip::Graft {
                id: Some(id(1)),
                round,
            },
        )
    };
    assert_eq!(node.wait(Duration::from_millis(1)), [graft(1, 2)]);
    assert_eq!(node.wait(Duration::from_millis(100)), [graft(2, 3)]);
    node.core.handle_down(2);
    assert_eq!(node.wait(Duration::from_millis(100)), [graft(1, 2)]);
    node.hear(1, content(1, 2));
    assert_eq!(node.wait(Duration::from_secs(1)), []);
    assert_eq!(node.core.missing.len(), 0);
}

#[test]
fn a_graft_is_answered_from_the_kept_contents_as_long_as_they_are_kept() {
    let mut node = Node::new(2, BroadcastConfig::default());
    node.publish(1);
    let graft = Gossip::Graft {
        id: Some(id(1)),
        round: 0,
    };
    assert_eq!(node.hear(2, graft.clone()), [Out::Gossip(2, content(1, 0))]);
    node.wait(Duration::from_secs(31));
    assert_eq!(node.hear(2, graft), []);
    assert_eq!(node.core.counters().asked_too_late, 1);
    assert_eq!(node.publish(1).0, None, "the id is still known");
    node.wait(Duration::from_secs(60));
    assert_eq!(node.publish(1).0, Some(2));
}

#[test]
fn contents_and_ids_are_bounded_and_ids_that_expire_early_are_counted() {
    let config = BroadcastConfig::default()
        .with_max_content_bytes(25)
        .with_max_ids(4);
    let mut node = Node::new(1, config);
    for number in 0..6 {
        node.publish(number);
    }
    assert!(
        node.core.history.content(&id(3)).is_none() && node.core.history.content(&id(4)).is_some()
    );
    assert!(!node.core.has_seen(&id(1)) && node.core.has_seen(&id(2)));
    assert_eq!(node.core.counters().forgotten_early, 2);
}

#[test]
fn a_full_queue_gets_ids_instead_of_contents_when_it_has_room_again() {
    let mut node = Node::new(2, BroadcastConfig::default());
    node.core.handle_congestion(node.now, 2, true);
    assert_eq!(node.publish(1).1, [Out::Gossip(1, content(1, 0))]);
    assert_eq!(node.wait(Duration::from_secs(1)), []);
    node.core.handle_congestion(node.now, 2, false);
    assert_eq!(node.wait(Duration::ZERO), [Out::Gossip(2, ihave(1, 0))]);
    assert_eq!(node.core.counters().deferred, 1);
}

#[test]
fn the_tree_uses_a_path_that_is_shorter_by_the_threshold_and_no_other() {
    for (hops, is_better) in [(5, false), (6, true)] {
        let mut node = Node::new(3, BroadcastConfig::default());
        node.hear(2, Gossip::Prune);
        node.core.set_eager(2, false);
        node.hear(2, ihave(1, 3));
        let out = node.hear(1, content(1, hops));
        let graft = Out::Gossip(2, Gossip::Graft { id: None, round: 3 });
        assert_eq!(out.contains(&graft), is_better, "{hops} hops");
        assert_eq!(out.contains(&Out::Gossip(1, Gossip::Prune)), is_better);
    }
}

#[test]
fn one_thousand_and_twenty_four_missing_ids_of_a_neighbour_are_noted() {
    let mut node = Node::new(2, BroadcastConfig::default());
    let many = |from: u16| {
        (from..from + 600)
            .map(|at| IHave {
                id: MessageId::of(&at.to_le_bytes()),
                round: 1,
            })
            .collect()
    };
    node.hear(1, Gossip::IHave(many(0)));
    node.hear(1, Gossip::IHave(many(600)));
    assert_eq!(node.core.missing.len(), 1024);
    assert_eq!(node.core.counters().not_noted, 176);
    node.hear(2, Gossip::IHave(many(2000)));
    assert_eq!(node.core.missing.len(), 1624);
    node.wait(Duration::from_secs(11));
    assert_eq!(
        (node.core.missing.len(), node.core.counters().never_arrived),
        (0, 1624)
    );
    node.hear(1, Gossip::IHave(many(0)));
    assert_eq!(node.core.missing.len(), 600, "there is room again");
}

#[test]
fn the_ids_of_a_replaced_link_are_announced_again() {
    let mut node = Node::new(2, BroadcastConfig::default());
    node.publish(1);
    node.wait(Duration::from_secs(6));
    node.publish(2);
    node.core.handle_replaced(node.now, 1);
    assert_eq!(node.wait(Duration::ZERO), [Out::Gossip(1, ihave(2, 0))]);
}

#[test]
fn with_flooding_own_messages_go_to_all_neighbours() {
    let mut node = Node::new(2, BroadcastConfig::default().with_flood(true));
    node.core.set_eager(2, false);
    assert_eq!(node.publish(1).1.len(), 2);
    assert_eq!(
        node.hear(1, content(2, 0)).len(),
        1,
        "messages of others go along the tree"
    );
}

/// The ids of 64 messages, which are other ones for each number.
fn many(number: u8) -> Gossip {
    let id = |at: u8| MessageId::of(&[number, at]);
    let ids = (0..64).map(|at| IHave {
        id: id(at),
        round: 1,
    });
    Gossip::IHave(ids.collect())
}

#[test]
fn neighbours_that_announce_what_does_not_arrive_delay_publishers_for_250_ms() {
    let mut node = Node::new(5, BroadcastConfig::default());
    for peer in [1, 2] {
        node.hear(peer, many(9));
        assert!(!node.core.delays_publishers(node.now), "two of five");
    }
    node.hear(3, many(9));
    node.now += Duration::from_millis(249);
    assert!(node.core.delays_publishers(node.now));
    node.now += Duration::from_millis(1);
    for _ in 0..100 {
        node.hear(3, many(9));
        assert!(!node.core.delays_publishers(node.now));
        node.now += Duration::from_millis(10);
    }
}

#[test]
fn many_announced_messages_that_keep_arriving_delay_each_message_by_250_ms_at_the_most() {
    let mut node = Node::new(3, BroadcastConfig::default());
    for peer in [1, 2] {
        for number in 10..14 {
            node.hear(peer, many(number));
        }
    }
    let mut published = Vec::new();
    for step in 0..100_u8 {
        let bytes = Bytes::copy_from_slice(&[10 + step / 64, step % 64]);
        let arrives = Gossip::Content {
            id: MessageId::of(&bytes),
            content: bytes,
            scope: Scope::Swarm(0),
        };
        node.hear(1, arrives);
        if !node.core.delays_publishers(node.now) {
            assert_eq!(node.publish(step).0, Some(3));
            published.push(step);
        }
        node.now += Duration::from_millis(10);
    }
    assert_eq!(published, [25, 51, 77]);
}

#[test]
fn the_ids_for_a_neighbour_whose_link_is_replaced_again_and_again_wait_once() {
    let mut node = Node::new(1, BroadcastConfig::default());
    node.core.handle_congestion(node.now, 1, true);
    for number in 0..10 {
        node.publish(number);
    }
    for _ in 0..2000 {
        node.core.handle_replaced(node.now, 1);
    }
    node.core.handle_congestion(node.now, 1, false);
    let announced = node.wait(Duration::from_secs(1)).into_iter();
    let announced = announced.map(|out| match out {
        Out::Gossip(1, Gossip::IHave(ids)) => ids.len(),
        _ => 0,
    });
    assert_eq!(announced.sum::<usize>(), 10);
}
