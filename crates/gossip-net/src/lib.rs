//! Broadcast to all subscribers of a topic, wire-compatible with iroh-gossip.
#![allow(dead_code)]

mod broadcast;
mod config;
mod error;
mod event;
mod id;
mod membership;
mod rng;
#[cfg(test)]
mod simulation;
mod topic;
pub mod wire;

pub use broadcast::Counters;
pub use config::{BroadcastConfig, Config, MembershipConfig};
pub use error::{IdError, JoinError, LinkError, PublishError, WireError};
pub use event::{DownCause, Event, Received};
pub use id::{Id, MessageId, TopicId};
