//! Those who read events: what each has been given must be what came about.

use std::collections::BTreeMap;

use conn_state::{Event, SharedTracker, Snapshot, State, Subscription, Update};

use crate::reference::{PEERS, Reference};

/// Reads everything, or one peer's, when it likes.
#[derive(Debug)]
pub(crate) struct Reader {
    subscription: Subscription<u8>,
    filter: Option<u8>,
    /// How the peers stand, after what it was given, and the number of each one's latest event.
    known: BTreeMap<u8, (State, Option<u64>)>,
    /// The place in the log of the first event that it was not given.
    given: usize,
    /// How often it was told that it had fallen behind.
    pub(crate) lags: u32,
}

impl Reader {
    pub(crate) fn new(
        shared: &SharedTracker<u8>,
        filter: Option<u8>,
        reference: &Reference,
    ) -> Result<Self, String> {
        let (snapshot, subscription) = match filter {
            Some(peer) => shared.subscribe_to(&peer),
            None => shared.subscribe(),
        };
        let reader = Self {
            subscription,
            filter,
            known: known(&snapshot),
            given: reference.log.len(),
            lags: 0,
        };
        reader.stands_as(reference)?;
        Ok(reader)
    }

    fn wants(&self, peer: u8) -> bool {
        self.filter.is_none_or(|wanted| wanted == peer)
    }

    /// Reads at most so many updates.
    pub(crate) fn read(
        &mut self,
        updates: usize,
        history: usize,
        reference: &Reference,
    ) -> Result<(), String> {
        for _ in 0..updates {
            match self.subscription.try_next() {
                Some(Update::Event(event)) => self.take(&event, reference)?,
                Some(Update::Lagged { missed, snapshot }) => {
                    let behind = reference.log.len() - self.given;
                    if behind <= history || missed as usize > behind {
                        return Err(format!("{missed} are said to be missed, {behind} were"));
                    }
                    if self.filter.is_none() && missed as usize != behind {
                        return Err(format!("{missed} are said to be missed, {behind} were"));
                    }
                    self.lags += 1;
                    self.given = reference.log.len();
                    self.known = known(&snapshot);
                    if snapshot.peers.iter().any(|entry| !self.wants(entry.peer)) {
                        return Err("a stranger is in the snapshot".to_owned());
                    }
                    self.stands_as(reference)?;
                }
                None => {
                    let mut missing = reference.log[self.given..].iter();
                    if let Some(missing) = missing.find(|event| self.wants(event.peer)) {
                        return Err(format!("it was not given {missing:?}"));
                    }
                    self.given = reference.log.len();
                    return self.stands_as(reference);
                }
            }
        }
        Ok(())
    }

    /// It must be the next one that came about and that it wants, and follow from what it knew.
    fn take(&mut self, event: &Event<u8>, reference: &Reference) -> Result<(), String> {
        let left = reference.log[self.given..].iter();
        let place = left
            .clone()
            .position(|other| self.wants(other.peer))
            .ok_or("it was given one too many")?;
        let expected = &reference.log[self.given + place];
        if event != expected {
            return Err(format!("it was given {event:?} and not {expected:?}"));
        }
        let nobody = (State::NotConnected, None);
        let (state, number) = self.known.get(&event.peer).copied().unwrap_or(nobody);
        if event.from != state || number.is_some_and(|number| event.number <= number) {
            return Err(format!("{event:?} does not follow {state} ({number:?})"));
        }
        self.given += place + 1;
        let now = (event.to, Some(event.number));
        self.known.insert(event.peer, now);
        Ok(())
    }

    fn stands_as(&self, reference: &Reference) -> Result<(), String> {
        for peer in PEERS.into_iter().filter(|peer| self.wants(*peer)) {
            let nobody = (State::NotConnected, None);
            let (state, number) = self.known.get(&peer).copied().unwrap_or(nobody);
            let (expected, latest) = (reference.state(peer), reference.latest(peer));
            let latest = latest.map(|(_, event)| event.number);
            if state != expected || number.is_some() && number != latest {
                return Err(format!(
                    "{peer} is {state} ({number:?}) to a reader, and {expected} ({latest:?})"
                ));
            }
        }
        Ok(())
    }
}

fn known(snapshot: &Snapshot<u8>) -> BTreeMap<u8, (State, Option<u64>)> {
    let peers = snapshot.peers.iter();
    peers
        .map(|entry| (entry.peer, (entry.state, Some(entry.number))))
        .collect()
}
