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
    /// The node has left the topic: its stream is finished.
    Finish(TopicId),
}

#[derive(Debug)]
pub(crate) struct Outbox {
    control: VecDeque<Transmit>,
    data: VecDeque<Transmit>,
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
    pub(crate) fn push_control(&mut self, now: Instant, item: Transmit) -> bool {
        self.touch(now);
        let has_room = self.control.len() < MAX_CONTROL;
        if has_room {
            self.control.push_back(item);
        }
        has_room
    }

    /// Adds a message with content, or one that must not overtake those.
    pub(crate) fn push_data(&mut self, now: Instant, item: Transmit) {
        self.touch(now);
        if let Transmit::Frame(_, frame) = &item {
            self.bytes += frame.len();
        }
        self.data.push_back(item);
    }

    /// Takes messages of about so many bytes.
    pub(crate) fn take(&mut self, now: Instant, bytes: usize) -> Vec<Transmit> {
        let (mut taken, mut size) = (Vec::new(), 0);
        while size < bytes {
            let item = match self.control.pop_front() {
                Some(item) => item,
                None => match self.data.pop_front() {
                    Some(item) => {
                        self.bytes -= length(&item);
                        item
                    }
                    None => break,
                },
            };
            size += length(&item);
            taken.push(item);
        }
        if !taken.is_empty() {
            self.last_progress = now;
        }
        taken
    }

    /// Removes the contents of a topic whose neighbour is gone.
    pub(crate) fn forget(&mut self, topic: &TopicId) {
        self.data
            .retain(|item| !matches!(item, Transmit::Frame(of, _) if of == topic));
        self.bytes = self.data.iter().map(length).sum();
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
