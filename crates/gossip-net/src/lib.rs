//! Broadcast to all subscribers of a topic, wire-compatible with iroh-gossip.

mod error;
mod id;
pub mod wire;

pub use error::{IdError, JoinError, LinkError, PublishError, WireError};
pub use id::{Id, MessageId, TopicId};
