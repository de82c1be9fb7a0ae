mod barred;
mod dials;
mod former;
mod frames;
mod iroh;
mod links;
mod rates;
mod room;
mod validation;

use std::time::Duration;

use super::*;
use crate::{
    DownCause, LinkProtocol, Probe, Transmit,
    wire::{AddrInfo, Message, PeerInfo, Priority, Swarm},
};

fn id(number: u8) -> Id {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[number; 32]);
    Id::from_bytes(secret.verifying_key().to_bytes()).unwrap()
}

/// Two ids, the lower one first.
fn pair() -> (Id, Id) {
    (id(1).min(id(2)), id(1).max(id(2)))
}

const TOPIC: TopicId = TopicId::from_bytes([1; 32]);
const OTHER: TopicId = TopicId::from_bytes([2; 32]);

struct Node {
    core: Core,
    now: Instant,
    closed: Vec<LinkId>,
    probes: Vec<LinkId>,
    events: Vec<Event>,
    dials: Vec<Id>,
    published: u32,
}

impl Node {
    fn new(me: Id) -> Self {
        Self::of(Core::new(me, 1, Config::default()))
    }

    fn of(mut core: Core) -> Self {
        let now = Instant::now();
        core.subscribe(now, TOPIC, &[]).unwrap();
        Self {
            core,
            now,
            closed: vec![],
            probes: vec![],
            events: vec![],
            dials: vec![],
            published: 0,
        }
    }

    /// A node with neighbours. The first one has link 1 and the id 1, and so on.
    fn with_neighbours(count: u8) -> Self {
        let mut node = Self::new(id(100));
        (1..=count).for_each(|number| node.add_neighbour(number));
        node
    }

    fn add_neighbour(&mut self, number: u8) {
        let link = u64::from(number);
        self.up(link, id(number), id(number), LinkProtocol::Bowline);
        self.hear(link, neighbor());
        assert!(self.core.neighbors(&TOPIC).contains(&id(number)));
    }

    /// Publishes another message with 1 KiB of content.
    fn publish(&mut self, everywhere: bool) -> Result<usize, crate::PublishError> {
        self.published += 1;
        let content = Bytes::from([&self.published.to_le_bytes()[..], &[0; 1020]].concat());
        let id = MessageId::of(&content);
        let published = self.core.publish(self.now, TOPIC, id, content, everywhere);
        self.settle();
        published
    }

    /// The bytes of contents that wait for a peer.
    fn waiting(&self, peer: &Id) -> usize {
        let handle = self.core.peers.find(peer).unwrap();
        let outbox = self.core.outboxes.get(&handle);
        outbox.map_or(0, |outbox| outbox.bytes())
    }

    fn settle(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Close(link, _) => self.closed.push(link),
                Output::Probe(link, _) => self.probes.push(link),
                Output::Event(_, event) => self.events.push(event),
                Output::Dial { peer, .. } => self.dials.push(peer),
                _ => {}
            }
        }
    }

    fn up(&mut self, link: u64, peer: Id, dialed_by: Id, protocol: LinkProtocol) {
        self.core
            .handle_link_up(self.now, LinkId(link), peer, dialed_by, protocol);
        self.settle();
    }

    fn hear(&mut self, link: u64, message: Message) {
        self.core
            .handle_message(self.now, LinkId(link), (1, 1), TOPIC, message);
        self.settle();
    }

    /// Lets time pass. The peer keeps talking over one link.
    fn wait(&mut self, time: Duration, over: Option<u64>) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(100);
            if let Some(link) = over {
                self.hear(link, Message::Gossip(crate::wire::Gossip::Prune));
            }
            self.core.handle_timeout(self.now);
            self.settle();
            for link in self.core.links() {
                self.core.poll_transmit(self.now, link, 1 << 20);
            }
        }
    }

    fn sent(&mut self, link: u64) -> Vec<Message> {
        let sent = self.core.poll_transmit(self.now, LinkId(link), 1 << 20);
        let frames = sent.into_iter().filter_map(|item| match item {
            Transmit::Frame(_, frame) => Some(Message::decode(&frame[4..]).unwrap()),
            Transmit::Finish(_) => None,
        });
        frames.collect()
    }
}

/// The data of a peer with one socket address.
fn at(address: [u8; 4], port: u16) -> PeerData {
    let direct = vec![(address, port).into()];
    AddrInfo {
        direct,
        ..AddrInfo::default()
    }
    .encode()
}

fn neighbor() -> Message {
    Message::Swarm(Swarm::Neighbor {
        priority: Priority::High,
        data: None,
    })
}

#[test]
fn of_two_simultaneous_links_both_ends_keep_the_dial_of_the_lower_id() {
    let (low, high) = pair();
    for (me, peer) in [(low, high), (high, low)] {
        for (first, second) in [(low, high), (high, low)] {
            let mut node = Node::new(me);
            node.up(1, peer, first, LinkProtocol::Bowline);
            node.up(2, peer, second, LinkProtocol::Bowline);
            let kept = if first == low { 1 } else { 2 };
            assert_eq!(node.core.current_link(&peer), Some(LinkId(kept)));
            node.hear(kept, neighbor());
            node.wait(Duration::from_secs(5), Some(kept));
            assert_eq!(node.closed, [LinkId(3 - kept)]);
            assert!(
                node.events
                    .iter()
                    .all(|event| !matches!(event, Event::NeighborDown(..)))
            );
        }
    }
}

#[test]
fn a_second_link_of_the_same_dialer_replaces_the_first() {
    let (low, high) = pair();
    for dialer in [low, high] {
        let mut node = Node::new(low);
        node.up(1, high, dialer, LinkProtocol::Bowline);
        node.up(2, high, dialer, LinkProtocol::Bowline);
        assert_eq!(node.core.current_link(&high), Some(LinkId(2)));
    }
}

#[test]
fn an_old_link_is_probed_and_stays_only_if_it_answers() {
    let (low, high) = pair();
    for (outcome, kept) in [(Probe::Alive, 1), (Probe::Dead, 2), (Probe::Unknown, 2)] {
        let mut node = Node::new(high);
        node.up(1, low, low, LinkProtocol::Bowline);
        node.hear(1, neighbor());
        node.wait(Duration::from_secs(6), Some(1));
        node.up(2, low, high, LinkProtocol::Bowline);
        assert_eq!(node.probes, [LinkId(1)]);
        assert_eq!(
            node.core.current_link(&low),
            Some(LinkId(2)),
            "the new link is known to work"
        );
        node.core.handle_probe(node.now, LinkId(1), outcome);
        node.wait(Duration::from_secs(6), Some(kept));
        assert_eq!(
            node.core.current_link(&low),
            Some(LinkId(kept)),
            "{outcome:?}"
        );
        assert_eq!(node.closed, [LinkId(3 - kept)]);
    }
}

#[test]
fn the_newest_link_to_iroh_is_used_and_the_older_one_closes_after_iroh_has_moved_and_ten_silent_seconds()
 {
    let (low, high) = pair();
    let mut node = Node::new(high);
    node.up(1, low, low, LinkProtocol::Iroh);
    node.hear(1, neighbor());
    node.up(2, low, high, LinkProtocol::Iroh);
    assert_eq!(node.core.current_link(&low), Some(LinkId(2)));
    node.wait(Duration::from_secs(60), Some(1));
    assert_eq!(node.closed, [], "iroh still uses the older link");
    node.wait(Duration::from_secs(9), Some(2));
    assert_eq!(node.closed, []);
    node.wait(Duration::from_secs(2), Some(2));
    assert_eq!(node.closed, [LinkId(1)]);
}

#[test]
fn a_disconnect_that_was_sent_before_the_latest_neighbor_is_ignored() {
    let (low, high) = pair();
    let mut node = Node::new(low);
    node.up(1, high, high, LinkProtocol::Bowline);
    let disconnect = Message::Swarm(Swarm::Disconnect {
        alive: true,
        respond: false,
    });
    for (position, ignored) in [((3, 6), true), ((2, 9), true), ((3, 8), false)] {
        node.core
            .handle_message(node.now, LinkId(1), (3, 7), TOPIC, neighbor());
        node.core
            .handle_message(node.now, LinkId(1), position, TOPIC, disconnect.clone());
        assert_eq!(
            node.core.neighbors(&TOPIC).len(),
            usize::from(ignored),
            "{position:?}"
        );
    }
    assert_eq!(node.core.link_counters().stale, 2);
}

#[test]
fn a_neighbor_of_an_older_stream_that_arrives_late_does_not_make_an_older_disconnect_count() {
    let mut node = Node::new(id(100));
    node.up(1, id(1), id(1), LinkProtocol::Bowline);
    let disconnect = Message::Swarm(Swarm::Disconnect {
        alive: true,
        respond: false,
    });
    for (position, message) in [
        ((2, 1), neighbor()),
        ((1, 1), neighbor()),
        ((1, 2), disconnect),
    ] {
        node.core
            .handle_message(node.now, LinkId(1), position, TOPIC, message);
    }
    assert_eq!(node.core.neighbors(&TOPIC), [id(1)]);
}

#[test]
fn what_a_peer_tells_about_itself_is_not_replaced_by_what_others_tell() {
    let (low, high) = pair();
    let (told, hearsay) = (at([192, 0, 2, 1], 1), at([198, 51, 100, 9], 53));
    let mut node = Node::new(low);
    node.up(1, high, high, LinkProtocol::Bowline);
    node.hear(1, Message::Swarm(Swarm::Join(Some(told.clone()))));
    node.hear(
        1,
        Message::Swarm(Swarm::ShuffleReply {
            nodes: vec![PeerInfo {
                id: high,
                data: Some(hearsay),
            }],
        }),
    );
    let handle = node.core.peers.find(&high).unwrap();
    assert_eq!(node.core.peers.data(handle), Some(told));
}

#[test]
fn a_neighbour_that_was_lost_and_comes_back_is_told_the_ids_of_the_messages_that_it_may_have_missed()
 {
    let (low, high) = pair();
    let mut node = Node::new(low);
    let publish = |node: &mut Node, text: &'static str| {
        let content = Bytes::from_static(text.as_bytes());
        let id = MessageId::of(&content);
        node.core
            .publish(node.now, TOPIC, id, content, true)
            .unwrap();
        id
    };
    let other = id(3);
    for (link, peer) in [(1, high), (2, other)] {
        node.up(link, peer, peer, LinkProtocol::Bowline);
        node.hear(link, neighbor());
    }
    let lost = publish(&mut node, "on its way when the link is lost");
    node.sent(1);
    node.core.handle_link_closed(node.now, LinkId(1));
    node.settle();
    let missed = publish(&mut node, "while the neighbour is away");
    node.up(3, high, high, LinkProtocol::Bowline);
    node.hear(3, neighbor());
    assert!(node.core.neighbors(&TOPIC).contains(&high));
    node.core
        .handle_timeout(node.now + Duration::from_millis(5));
    let told = node.sent(3).into_iter().find_map(|message| match message {
        Message::Gossip(crate::wire::Gossip::IHave(ids)) => Some(ids),
        _ => None,
    });
    let told = told.expect("the neighbour is told ids").into_iter();
    let told = told.map(|ihave| ihave.id).collect::<BTreeSet<_>>();
    assert_eq!(told, BTreeSet::from([lost, missed]));
}

#[test]
fn at_most_eight_dials_are_in_flight_and_the_next_starts_when_one_ends() {
    let (low, _) = pair();
    let mut node = Node::new(low);
    let peers = (10..30)
        .map(|number| PeerInfo {
            id: id(number),
            data: None,
        })
        .collect::<Vec<_>>();
    node.core.join(node.now, TOPIC, &peers);
    node.settle();
    assert_eq!(node.dials.len(), 8);
    node.core
        .handle_dial_failed(node.now, &node.dials[0].clone());
    node.settle();
    assert_eq!(node.dials.len(), 9);
}

#[test]
fn peers_that_nothing_refers_to_are_forgotten() {
    let (low, high) = pair();
    let mut node = Node::new(low);
    node.up(1, high, high, LinkProtocol::Bowline);
    node.hear(1, neighbor());
    for number in 0..400_u16 {
        let secret = [&number.to_le_bytes()[..], &[9; 30]].concat();
        let key =
            ed25519_dalek::SigningKey::from_bytes(&secret.try_into().unwrap()).verifying_key();
        let nodes = vec![PeerInfo {
            id: Id::from_bytes(key.to_bytes()).unwrap(),
            data: None,
        }];
        node.hear(1, Message::Swarm(Swarm::ShuffleReply { nodes }));
    }
    let live = (0..1000)
        .filter(|handle| node.core.peers.get(*handle).is_some())
        .count();
    assert!(live <= 256, "{live}");
    assert_eq!(node.core.neighbors(&TOPIC), [high]);
}
