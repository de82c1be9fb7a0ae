//! A fixed list.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use crate::{Candidate, Found, PeerSource};

/// A fixed list of candidates, such as the bootstrap list of a configuration.
#[derive(Debug)]
pub struct List<Id, A>(VecDeque<Candidate<Id, A>>);

impl<Id, A> List<Id, A> {
    /// A source that names these candidates once.
    pub fn new(candidates: impl IntoIterator<Item = Candidate<Id, A>>) -> Self {
        Self(candidates.into_iter().collect())
    }
}

impl<Id: Send, A: Send> PeerSource<Id, A> for List<Id, A> {
    fn poll_found(&mut self, _: &mut Context<'_>) -> Poll<Option<Found<Id, A>>> {
        Poll::Ready(self.0.pop_front().map(Found::Candidate))
    }
}
