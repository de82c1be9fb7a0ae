//! The streams of one connection that are finished but not yet acknowledged.
//!
//! A graceful close waits for these streams. quinn does not count them, so this module keeps the
//! sending sides from the moment they are finished until the peer has acknowledged them.

use std::collections::BTreeMap;

use quinn::{SendStream, StoppedError, VarInt};

/// Sending sides that are kept before the first look for acknowledged ones.
const FEW: usize = 8;

/// Finished sending sides by stream number.
#[derive(Debug)]
pub(crate) struct Finished {
    streams: BTreeMap<u64, Side>,
    /// The number of streams at which acknowledged ones are looked for. It is twice what the
    /// last look left, so a look costs each stream a constant amount.
    look_at: usize,
}

#[derive(Debug)]
struct Side {
    send: SendStream,
    /// Whether the user still has the stream, and may ask what became of it.
    held: bool,
}

impl Default for Finished {
    fn default() -> Self {
        Self {
            streams: BTreeMap::new(),
            look_at: FEW,
        }
    }
}

impl Finished {
    pub(crate) fn insert(&mut self, send: SendStream) {
        let id = VarInt::from(send.id()).into_inner();
        self.streams.insert(id, Side { send, held: true });
        if self.streams.len() >= self.look_at {
            self.streams
                .retain(|_, side| side.held || !is_over(&mut side.send));
            self.look_at = FEW.max(2 * self.streams.len());
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }

    /// The user has dropped the stream.
    pub(crate) fn release(&mut self, id: u64) {
        if let Some(side) = self.streams.get_mut(&id) {
            side.held = false;
            if is_over(&mut side.send) {
                self.streams.remove(&id);
            }
        }
    }

    /// Gives up what is not delivered of one stream.
    pub(crate) fn reset(&mut self, id: u64, code: VarInt) {
        if let Some(mut side) = self.streams.remove(&id) {
            // An error means that everything is delivered already.
            let _ = side.send.reset(code);
        }
    }

    /// Waits until one stream is acknowledged, stopped by the peer, or lost with the connection.
    pub(crate) fn delivery(&self, id: u64) -> Option<Delivery> {
        self.streams.get(&id).map(|side| delivery(&side.send))
    }

    /// Waits for each stream that is not over.
    pub(crate) fn deliveries(&mut self) -> Vec<Delivery> {
        self.streams
            .values_mut()
            .filter_map(|side| (!is_over(&mut side.send)).then(|| delivery(&side.send)))
            .collect()
    }
}

pub(crate) type Delivery =
    std::pin::Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

fn delivery(send: &SendStream) -> Delivery {
    Box::pin(send.stopped())
}

/// Whether there is nothing left to deliver. Asks quinn without registering a waker: only of a
/// stream that it has forgotten, because everything was acknowledged, the priority is unknown;
/// and finishing a second time is an error unless the peer has stopped the stream.
fn is_over(send: &mut SendStream) -> bool {
    send.priority().is_err() || send.finish().is_ok()
}
