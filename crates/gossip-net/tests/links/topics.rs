//! Subscriptions: joining, publishing, falling behind and leaving.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant as Until,
};

use gossip_net::{
    AsyncWrite, Builder, Config, DownCause, Event, Gossip, Id, JoinError, LinkError, LinkEvent,
    LinkId, LinkProtocol, Links, PublishError, Subscription, TopicId, async_trait,
    memory::MemoryLinks, wire::Scope,
};
use tokio::time::{Duration, Instant, sleep};

use crate::{after, id, info, message, network, node, topic};

/// Two nodes that are neighbours in the topic, because the second one has joined by the first one.
async fn neighbours() -> ([Gossip; 2], [Subscription; 2]) {
    let network = network(1);
    let nodes = [0, 1].map(|number| node(&network, number, Config::default()));
    let first = nodes[0].subscribe(topic(), &[]).unwrap();
    let peers = [info(0)];
    let joining = nodes[1].subscribe_and_join(topic(), &peers, after(5.0));
    let second = joining.await.unwrap();
    (nodes, [first, second])
}

#[tokio::test(start_paused = true)]
async fn a_message_says_how_far_it_has_come_and_by_whom_it_was_sent() {
    let (_nodes, [mut first, second]) = neighbours().await;
    first.joined(after(5.0)).await.unwrap();
    assert_eq!(second.publish("to all", after(1.0)).await, Ok(1));
    let received = message(&mut first).await;
    assert_eq!(
        (received.content.as_ref(), received.via, received.hops()),
        (&b"to all"[..], id(1), 1)
    );
    assert_eq!(received.scope, Scope::Swarm(0));
    assert_eq!(
        second
            .sender()
            .broadcast_neighbors("near", after(1.0))
            .await,
        Ok(1)
    );
    assert_eq!(message(&mut first).await.scope, Scope::Neighbors);
}

#[tokio::test(start_paused = true)]
async fn publishing_without_a_neighbour_waits_for_one_until_the_deadline() {
    let network = network(1);
    let alone = node(&network, 0, Config::default());
    let mut subscription = alone.subscribe(topic(), &[]).unwrap();
    let start = Instant::now();
    assert_eq!(
        subscription.publish("early", after(2.0)).await,
        Err(PublishError::NoNeighbour)
    );
    assert!(start.elapsed() >= Duration::from_secs(2));
    let other = node(&network, 1, Config::default());
    let publishing = subscription.sender().clone();
    let publishing = tokio::spawn(async move { publishing.publish("early", after(5.0)).await });
    let mut late = other.subscribe(topic(), &[info(0)]).unwrap();
    assert_eq!(message(&mut late).await.content, "early");
    assert_eq!(publishing.await.unwrap(), Ok(1));
    assert_eq!(subscription.recv().await, Some(Event::NeighborUp(id(1))));
    assert_eq!(subscription.recv().await, Some(Event::Joined));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_the_longest_length_is_published_and_a_longer_or_repeated_one_is_refused() {
    let (_nodes, [mut first, second]) = neighbours().await;
    let longest = vec![7; 4057];
    assert_eq!(second.publish(longest.clone(), after(1.0)).await, Ok(1));
    assert_eq!(message(&mut first).await.content, longest);
    let too_large = PublishError::TooLarge {
        length: 4058,
        limit: 4057,
    };
    assert_eq!(
        second.publish(vec![7; 4058], after(1.0)).await,
        Err(too_large)
    );
    assert_eq!(second.publish("short", after(1.0)).await, Ok(1));
    assert_eq!(message(&mut first).await.content, "short");
    assert_eq!(
        second.publish(longest.clone(), after(1.0)).await,
        Err(PublishError::Duplicate)
    );
    assert_eq!(
        first.publish(longest.clone(), after(1.0)).await,
        Err(PublishError::Duplicate)
    );
    sleep(Duration::from_secs(92)).await;
    assert_eq!(
        second.publish(longest, after(1.0)).await,
        Ok(1),
        "the id is forgotten after 90 s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_falls_behind_is_told_how_many_events_it_missed_and_delays_nobody() {
    let network = network(1);
    let nodes = [0, 1].map(|number| node(&network, number, Config::default()));
    let mut slow = nodes[0].subscribe_with_capacity(topic(), &[], 10).unwrap();
    let mut fast = nodes[0].subscribe(topic(), &[]).unwrap();
    let sender = nodes[1]
        .subscribe_and_join(topic(), &[info(0)], after(5.0))
        .await
        .unwrap();
    for number in 0..100_u8 {
        sender.publish(vec![number], after(1.0)).await.unwrap();
    }
    for number in 0..100 {
        assert_eq!(message(&mut fast).await.content, [number][..]);
    }
    // Two events tell about the neighbour.
    assert_eq!(slow.recv().await, Some(Event::Lagged(92)));
    assert_eq!(message(&mut slow).await.content, [90][..]);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_leaves_the_topic_and_a_link_stays_for_another_topic() {
    let network = network(1);
    let nodes = [0, 1].map(|number| node(&network, number, Config::default()));
    let other_topic = TopicId::from_name("other");
    let mut watching = nodes[0].subscribe(topic(), &[]).unwrap();
    let mut staying = nodes[0].subscribe(other_topic, &[]).unwrap();
    let leaving = nodes[1]
        .subscribe_and_join(topic(), &[info(0)], after(5.0))
        .await
        .unwrap();
    let remaining = nodes[1]
        .subscribe_and_join(other_topic, &[info(0)], after(5.0))
        .await
        .unwrap();
    let (sender, receiver) = leaving.split();
    sender.publish("last words", after(1.0)).await.unwrap();
    drop(sender);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        nodes[1].topics().len(),
        2,
        "the receiver still holds the topic"
    );
    drop(receiver);
    assert_eq!(message(&mut watching).await.content, "last words");
    assert_eq!(
        watching.recv().await,
        Some(Event::NeighborDown(id(1), DownCause::Left))
    );
    sleep(Duration::from_secs(60)).await;
    remaining.publish("still here", after(1.0)).await.unwrap();
    assert_eq!(message(&mut staying).await.content, "still here");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_a_topic_and_takes_part_again_over_the_same_link_is_heard() {
    let (nodes, [mut first, second]) = neighbours().await;
    let links = nodes[0].links();
    drop(second);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(first.neighbors(), []);
    let peers = [info(0)];
    let joining = nodes[1].subscribe_and_join(topic(), &peers, after(5.0));
    let again = joining.await.unwrap();
    assert_eq!(nodes[0].links(), links);
    again.publish("again", after(1.0)).await.unwrap();
    assert_eq!(message(&mut first).await.content, "again");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_no_topic_uses_is_closed() {
    let network = network(1);
    let nodes = [0, 1].map(|number| node(&network, number, Config::default()));
    let _watching = nodes[0].subscribe(topic(), &[]).unwrap();
    let leaving = nodes[1]
        .subscribe_and_join(topic(), &[info(0)], after(5.0))
        .await
        .unwrap();
    assert_eq!(network.links_of(&id(0)).len(), 1);
    drop(leaving);
    sleep(Duration::from_secs(12)).await;
    assert_eq!(network.links_of(&id(0)).len(), 0);
    assert_eq!(nodes[0].link_counters().closed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_join_whose_first_dial_fails_is_repeated_until_the_peer_is_there() {
    let network = network(1);
    let early = node(&network, 1, Config::default());
    let subscription = early.subscribe(topic(), &[info(0)]).unwrap();
    assert_eq!(
        subscription.joined(after(20.0)).await,
        Err(JoinError::TimedOut)
    );
    let late = node(&network, 0, Config::default());
    let _watching = late.subscribe(topic(), &[]).unwrap();
    subscription.joined(after(11.0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_validation_refuses_is_neither_delivered_nor_forwarded() {
    let network = network(1);
    let links = network.attach(id(1), LinkProtocol::Bowline);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let middle = Builder::new(id(1), 1, Config::default(), links as Arc<_>).validate(
        move |_, via, content| {
            count.fetch_add(1, Ordering::Relaxed);
            *via == id(0) && content != b"bad"
        },
    );
    let middle = middle.spawn();
    let first = node(&network, 0, Config::default());
    let mut received = middle.subscribe(topic(), &[]).unwrap();
    let sending = first
        .subscribe_and_join(topic(), &[info(1)], after(5.0))
        .await
        .unwrap();
    sending.publish("bad", after(1.0)).await.unwrap();
    sending.publish("good", after(1.0)).await.unwrap();
    assert_eq!(message(&mut received).await.content, "good");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!(middle.link_counters().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_sends_what_waits_and_says_goodbye() {
    let (nodes, [mut watching, mut leaving]) = neighbours().await;
    for number in 0..50_u8 {
        leaving
            .publish(vec![number; 1000], after(1.0))
            .await
            .unwrap();
    }
    assert!(nodes[1].shut_down(after(1.0)).await);
    while leaving.recv().await.is_some() {}
    assert_eq!(
        nodes[1].subscribe(topic(), &[]).err(),
        Some(JoinError::Left)
    );
    for number in 0..50_u8 {
        assert_eq!(message(&mut watching).await.content, vec![number; 1000]);
    }
    assert_eq!(
        watching.recv().await,
        Some(Event::NeighborDown(id(1), DownCause::Left))
    );
}

#[tokio::test(start_paused = true)]
async fn an_offered_peer_becomes_a_neighbour_in_each_topic_in_which_both_take_part() {
    let network = network(1);
    let nodes = [0, 1].map(|number| node(&network, number, Config::default()));
    let (only_here, later) = (TopicId::from_name("only here"), TopicId::from_name("later"));
    let first = nodes[0].subscribe(topic(), &[]).unwrap();
    let here = nodes[0].subscribe(only_here, &[]).unwrap();
    let _there = nodes[1].subscribe(topic(), &[]).unwrap();
    nodes[0].offer_to_all(&[info(1)]);
    first.joined(after(1.0)).await.unwrap();
    assert_eq!(here.joined(after(5.0)).await, Err(JoinError::TimedOut));

    let _there = nodes[1].subscribe(later, &[]).unwrap();
    let late = nodes[0].subscribe(later, &[]).unwrap();
    nodes[0].offer(later, &[info(1)]);
    late.joined(after(1.0)).await.unwrap();
}

/// Links that note what their host is told.
struct Noting {
    links: Arc<MemoryLinks>,
    events: Mutex<Vec<(TopicId, Event)>>,
}

#[async_trait]
impl Links for Noting {
    async fn connect(&self, peer: &Id, data: &[u8], until: Until) -> Result<LinkId, LinkError> {
        self.links.connect(peer, data, until).await
    }

    async fn open(&self, link: LinkId) -> Result<Box<dyn AsyncWrite + Send + Unpin>, LinkError> {
        self.links.open(link).await
    }

    async fn next(&self) -> LinkEvent {
        self.links.next().await
    }

    fn close(&self, link: LinkId, reason: &str) {
        self.links.close(link, reason);
    }

    fn handle_event(&self, topic: &TopicId, event: &Event) {
        self.events.lock().unwrap().push((*topic, event.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_host_hears_of_each_neighbour_that_comes_and_goes_until_the_end() {
    let network = network(1);
    let links = Arc::new(Noting {
        links: network.attach(id(0), LinkProtocol::Bowline),
        events: Mutex::default(),
    });
    let noting = Builder::new(id(0), 1, Config::default(), links.clone()).spawn();
    let other = node(&network, 1, Config::default());
    let here = noting.subscribe(topic(), &[]).unwrap();
    let there = other.subscribe(topic(), &[info(0)]).unwrap();
    here.joined(after(5.0)).await.unwrap();
    there.joined(after(5.0)).await.unwrap();
    assert!(noting.shut_down(after(1.0)).await);
    let told = [
        Event::NeighborUp(id(1)),
        Event::Joined,
        Event::NeighborDown(id(1), DownCause::Left),
    ];
    let told = told.map(|event| (topic(), event));
    assert_eq!(*links.events.lock().unwrap(), told);
}
