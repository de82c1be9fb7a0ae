//! The values and providers that this node keeps for other peers, and the keys that it publishes itself. Each of these
//! has a bound.

mod providers;
mod published;
mod shares;
mod values;

pub(crate) use providers::Providers;
pub(crate) use published::{Publication, Published};
use shares::Shares;
pub(crate) use values::Values;

/// How much of the store one sender may take.
const SHARE: usize = 8;

/// The reason why a value or a provider is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The node is a client and serves nobody.
    #[error("this node does not serve the DHT")]
    Client,
    /// The key is empty or too long, or the value is too long.
    #[error("the key or the value is too long, or the key is empty")]
    Length,
    /// No namespace is known for the key, or its validator refuses the value.
    #[error("the value is not valid in its namespace")]
    Invalid,
    /// A better value is stored under the key.
    #[error("a better value is stored already")]
    Worse,
    /// The sender's share of the store is used up, or the store is full and the sender's subnet has as many entries as any other.
    #[error("the store has no room for this entry")]
    Full,
    /// An ADD_PROVIDER does not name its sender with an accepted address.
    #[error("the request does not name its sender as a provider with an accepted address")]
    NotSender,
}

/// How many entries of a store with room for `most` one sender may have.
fn share(most: usize) -> usize {
    (most / SHARE).max(1)
}

#[cfg(test)]
mod tests;
