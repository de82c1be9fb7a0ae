//! Processes with a face of JSON lines, and who they are.

pub mod bowline;
pub mod peers;
pub mod process;
pub mod table;

pub use bowline::{Home, Up};
pub use peers::Peer;
pub use process::{Deadline, Event, Finished, Process};
