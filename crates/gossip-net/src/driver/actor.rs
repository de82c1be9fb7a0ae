//! The core behind a lock. The actor carries out the outputs of the core.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout_at},
};

use super::queue::Queue;
use crate::{Bytes, Core, Id, LinkId, Links, Output, Probe, TopicId, Transmit};

/// How often a shutdown looks whether all messages are written.
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);

pub(super) struct Actor {
    state: Mutex<State>,
    pub(super) links: Arc<dyn Links>,
    /// Wakes the task that sleeps until the next timeout.
    pub(super) timer: Notify,
    /// Wakes publishers.
    pub(super) room: Notify,
}

pub(super) struct State {
    pub(super) core: Core,
    armed: Option<Instant>,
    writers: HashMap<LinkId, Writer>,
    pub(super) topics: HashMap<TopicId, Subscribers>,
    tasks: JoinSet<()>,
    /// A handle may be dropped outside of the runtime.
    runtime: Handle,
    is_down: bool,
}

/// The writer of a link.
struct Writer {
    notify: Arc<Notify>,
    task: AbortHandle,
    /// Whether the writer has messages that it has not written yet.
    is_writing: bool,
}

#[derive(Default)]
pub(super) struct Subscribers {
    /// The senders and receivers of the topic.
    pub(super) handles: usize,
    pub(super) queues: Vec<Weak<Queue>>,
}

impl Actor {
    pub(super) fn new(core: Core, links: Arc<dyn Links>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                core,
                armed: None,
                writers: HashMap::new(),
                topics: HashMap::new(),
                tasks: JoinSet::new(),
                runtime: Handle::current(),
                is_down: false,
            }),
            links,
            timer: Notify::new(),
            room: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the core, and carries out its outputs.
    pub(super) fn with<T>(self: &Arc<Self>, call: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.lock();
        let result = call(&mut state, now());
        while let Some(output) = state.core.poll_output() {
            self.carry_out(&mut state, output);
        }
        while state.tasks.try_join_next().is_some() {}
        let next = state.core.poll_timeout();
        if next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed)) {
            state.armed = next;
            self.timer.notify_one();
        }
        result
    }

    /// When the core's next timeout is, which the caller will wait for.
    pub(super) fn arm(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.armed = state.core.poll_timeout();
        state.armed
    }

    /// Waits until the host has taken all messages that wait for a link. Returns false at the deadline.
    pub(super) async fn drained(self: &Arc<Self>, deadline: Instant) -> bool {
        let written = async {
            while self.lock().has_waiting() {
                sleep(DRAIN_INTERVAL).await;
            }
        };
        timeout_at(deadline.into(), written).await.is_ok()
    }

    /// Runs a task until the node shuts down.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.lock();
        if !state.is_down {
            let State { tasks, runtime, .. } = &mut *state;
            tasks.spawn_on(task, runtime);
        }
    }

    /// Starts the writer of a link that is about to be reported to the core. The writer waits for `notify`.
    pub(super) fn add_link(
        &self,
        link: LinkId,
        notify: Arc<Notify>,
        writer: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut state = self.lock();
        if state.is_down {
            self.links.close(link, "shut down");
            return;
        }
        let State { tasks, runtime, .. } = &mut *state;
        let writer = Writer {
            notify,
            task: tasks.spawn_on(writer, runtime),
            is_writing: false,
        };
        state.writers.insert(link, writer);
    }

    /// Stops the writer of a link.
    pub(super) fn remove_link(&self, link: LinkId) {
        self.lock().remove_link(link);
    }

    /// Ends all tasks and all subscriptions.
    pub(super) fn shut_down(&self) -> (Vec<LinkId>, JoinSet<()>) {
        let mut state = self.lock();
        state.is_down = true;
        for subscribers in state.topics.values() {
            subscribers
                .queues
                .iter()
                .filter_map(Weak::upgrade)
                .for_each(|queue| queue.close());
        }
        state.topics.clear();
        state.tasks.abort_all();
        let links = state.core.links();
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        self.room.notify_waiters();
        (links, tasks)
    }

    fn carry_out(self: &Arc<Self>, state: &mut State, output: Output) {
        if state.is_down {
            return;
        }
        match output {
            Output::Dial {
                peer,
                data,
                deadline,
            } => {
                state
                    .tasks
                    .spawn_on(dial(self.clone(), peer, data, deadline), &state.runtime);
            }
            Output::Transmit(link) => {
                if let Some(writer) = state.writers.get(&link) {
                    writer.notify.notify_one();
                }
            }
            Output::Probe(link, deadline) => {
                state
                    .tasks
                    .spawn_on(probe(self.clone(), link, deadline), &state.runtime);
            }
            Output::Close(link, reason) => {
                state.remove_link(link);
                self.links.close(link, reason);
            }
            Output::Event(topic, event) => {
                self.links.handle_event(&topic, &event);
                let Some(subscribers) = state.topics.get_mut(&topic) else {
                    return;
                };
                subscribers.queues.retain(|queue| queue.strong_count() > 0);
                for queue in subscribers.queues.iter().filter_map(Weak::upgrade) {
                    queue.push(event.clone());
                }
            }
            Output::Room => self.room.notify_waiters(),
        }
    }
}

impl State {
    pub(super) fn is_down(&self) -> bool {
        self.is_down
    }

    /// The next messages for the writer of a link, which has written the earlier ones.
    pub(super) fn next_batch(&mut self, now: Instant, link: LinkId, bytes: usize) -> Vec<Transmit> {
        let batch = self.core.poll_transmit(now, link, bytes);
        if let Some(writer) = self.writers.get_mut(&link) {
            writer.is_writing = !batch.is_empty();
        }
        batch
    }

    /// Whether a message waits for a link, or is being written.
    fn has_waiting(&self) -> bool {
        self.core.has_waiting() || self.writers.values().any(|writer| writer.is_writing)
    }

    fn remove_link(&mut self, link: LinkId) {
        if let Some(writer) = self.writers.remove(&link) {
            writer.task.abort();
        }
    }
}

/// The time of tokio's clock, which tests can pause.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn dial(actor: Arc<Actor>, peer: Id, data: Bytes, deadline: Instant) {
    let dialing = timeout_at(deadline.into(), actor.links.connect(&peer, &data, deadline));
    let failed = match dialing.await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the dial took too long".to_owned(),
    };
    tracing::debug!(%peer, failed, "a dial failed");
    actor.with(|state, now| state.core.handle_dial_failed(now, &peer));
}

async fn probe(actor: Arc<Actor>, link: LinkId, deadline: Instant) {
    let outcome = timeout_at(deadline.into(), actor.links.probe(link, deadline)).await;
    let outcome = outcome.unwrap_or(Probe::Dead);
    actor.with(|state, now| state.core.handle_probe(now, link, outcome));
}
