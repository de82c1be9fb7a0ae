//! The events that wait for a subscriber.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use crate::Event;

/// The events of one subscriber.
pub(super) struct Queue {
    events: Mutex<(VecDeque<Event>, u64)>,
    capacity: usize,
    pub(super) arrived: Notify,
    closed: AtomicBool,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            events: Mutex::default(),
            capacity: capacity.max(1),
            arrived: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Adds an event. A full queue loses its oldest one.
    pub(super) fn push(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.0.len() >= self.capacity {
            events.0.pop_front();
            events.1 += 1;
        }
        events.0.push_back(event);
        drop(events);
        self.arrived.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Event> {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut events.1) {
            0 => events.0.pop_front(),
            missed => Some(Event::Lagged(missed)),
        }
    }
}
