//! Joining the network, and rejoining it after a loss.

mod backoff;
mod candidate;
mod config;
mod error;
mod rejoin;
mod resume;

pub use backoff::{Backoff, Jitter};
pub use candidate::{Candidate, Found, Need, Origin};
pub use config::RejoinConfig;
pub use error::SourceError;
pub use rejoin::{AttemptId, CandidateView, Purpose, Reason, Rejoin, RejoinEvent, State, Status};
pub use resume::Resume;
#[cfg(feature = "tokio")]
pub use resume::time_asleep;
