//! Processes with a face of JSON lines, who they are, and what is measured of them.

pub mod bench;
pub mod bowline;
pub mod bulk;
pub mod complete;
pub mod forwarder;
pub mod peers;
pub mod percentile;
pub mod place;
pub mod process;
pub mod program;
pub mod sandbox;
pub mod table;

pub use bowline::{Home, Up};
pub use peers::Peer;
pub use process::{Deadline, Event, Finished, Process};
