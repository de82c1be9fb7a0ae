//! The queue of messages for one peer. Control messages go first.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;

use crate::TopicId;

/// How many control messages wait for a peer.
const MAX_CONTROL: usize = 2048;

/// An item to write to a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// A frame with its length. It goes to the stream of its topic, after the header if the stream is new.
    Frame(TopicId, Bytes),
    /// The end of a topic's stream, because the node has left the topic.
    Finish(TopicId),
}

/// An item that no control message overtakes, unless it is one itself.
#[derive(Debug)]
struct Data {
    item: Transmit,
    /// Whether the item is a control message, which follows the end of an earlier stream of its topic.
    is_control: bool,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    control: VecDeque<Transmit>,
    data: VecDeque<Data>,
    /// The control messages in `data`.
    behind: usize,
    /// The topics whose streams end with an item in `data`.
    ending: Vec<TopicId>,
    /// The bytes in `data`.
    bytes: usize,
    /// When something was taken, or put into the empty outbox.
    pub(crate) last_progress: Instant,
    pub(crate) congested: bool,
}

impl Outbox {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            control: VecDeque::new(),
            data: VecDeque::new(),
            behind: 0,
            ending: Vec::new(),
            bytes: 0,
            last_progress: now,
            congested: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.data.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a control message. Returns false if too many wait.
    ///
    /// If the node has left the topic a moment ago and takes part in it again, the message goes behind the end of the earlier
    /// stream. Otherwise the receiver would apply the earlier Disconnect to the new Neighbor.
    pub(crate) fn push_control(&mut self, now: Instant, item: Transmit) -> bool {
        self.touch(now);
        if self.control.len() + self.behind >= MAX_CONTROL {
            return false;
        }
        let is_behind = matches!(&item, Transmit::Frame(topic, _) if self.ending.contains(topic));
        if is_behind {
            self.behind += 1;
            self.push(item, true);
        } else {
            self.control.push_back(item);
        }
        true
    }

    /// Adds a message with content, or one that must not overtake those.
    pub(crate) fn push_data(&mut self, now: Instant, item: Transmit) {
        self.touch(now);
        if let Transmit::Finish(topic) = item {
            self.ending.push(topic);
        }
        self.push(item, false);
    }

    fn push(&mut self, item: Transmit, is_control: bool) {
        self.bytes += length(&item);
        self.data.push_back(Data { item, is_control });
    }

    /// Takes messages of about so many bytes.
    pub(crate) fn take(&mut self, now: Instant, bytes: usize) -> Vec<Transmit> {
        let (mut taken, mut size) = (Vec::new(), 0);
        while size < bytes
            && let Some(item) = self.take_one()
        {
            size += length(&item);
            taken.push(item);
        }
        if !taken.is_empty() {
            self.last_progress = now;
        }
        taken
    }

    fn take_one(&mut self) -> Option<Transmit> {
        if let Some(item) = self.control.pop_front() {
            return Some(item);
        }
        let Data { item, is_control } = self.data.pop_front()?;
        self.bytes -= length(&item);
        self.behind -= usize::from(is_control);
        if let Transmit::Finish(topic) = &item
            && let Some(at) = self.ending.iter().position(|other| other == topic)
        {
            self.ending.remove(at);
        }
        Some(item)
    }

    /// Removes the contents of a topic whose neighbour is gone.
    pub(crate) fn forget(&mut self, topic: &TopicId) {
        let is_of = |data: &Data| matches!(&data.item, Transmit::Frame(of, _) if of == topic);
        self.data.retain(|data| data.is_control || !is_of(data));
        self.bytes = self.data.iter().map(|data| length(&data.item)).sum();
    }

    fn touch(&mut self, now: Instant) {
        if self.is_empty() {
            self.last_progress = now;
        }
    }
}

fn length(item: &Transmit) -> usize {
    match item {
        Transmit::Frame(_, frame) => frame.len(),
        Transmit::Finish(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: [TopicId; 2] = [TopicId::from_bytes([1; 32]), TopicId::from_bytes([2; 32])];

    fn frame(topic: usize, text: &'static str) -> Transmit {
        Transmit::Frame(TOPICS[topic], Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn control_messages_overtake_contents_but_not_the_end_of_an_earlier_stream_of_their_topic() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        outbox.push_data(now, frame(0, "content"));
        outbox.push_data(now, frame(0, "disconnect"));
        outbox.push_data(now, Transmit::Finish(TOPICS[0]));
        for topic in [0, 1] {
            assert!(outbox.push_control(now, frame(topic, "neighbor")));
        }
        assert_eq!(
            outbox.take(now, 1 << 10),
            [
                frame(1, "neighbor"),
                frame(0, "content"),
                frame(0, "disconnect"),
                Transmit::Finish(TOPICS[0]),
                frame(0, "neighbor"),
            ]
        );
        outbox.push_data(now, frame(0, "content"));
        outbox.push_control(now, frame(0, "graft"));
        let again = outbox.take(now, 1 << 10);
        assert_eq!(again[0], frame(0, "graft"), "the earlier stream has ended");
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }

    #[test]
    fn at_most_2048_control_messages_wait_before_and_behind_the_contents() {
        let now = Instant::now();
        let mut outbox = Outbox::new(now);
        outbox.push_data(now, Transmit::Finish(TOPICS[0]));
        for count in 0..1024 {
            for topic in [0, 1] {
                assert!(outbox.push_control(now, frame(topic, "x")), "{count}");
            }
        }
        for topic in [0, 1] {
            assert!(!outbox.push_control(now, frame(topic, "x")));
        }
        outbox.take(now, 1);
        assert!(outbox.push_control(now, frame(0, "x")));
    }
}
