//! The sources of candidates.

#[cfg(feature = "libp2p")]
mod address;
#[cfg(feature = "dnsaddr")]
mod dnsaddr;
#[cfg(all(feature = "libp2p", feature = "tokio"))]
mod file;
#[cfg(feature = "mdns")]
mod lan;
mod list;
#[cfg(feature = "store")]
mod saved;
#[cfg(feature = "tokio")]
mod task;

#[cfg(feature = "libp2p")]
pub use address::{AddressError, parse_peer};
#[cfg(feature = "dnsaddr")]
#[cfg(any(fuzzing, test))]
pub(crate) use dnsaddr::expansion;
#[cfg(feature = "dnsaddr")]
pub use dnsaddr::{TxtLookup, dnsaddr};
#[cfg(all(feature = "libp2p", feature = "tokio"))]
pub use file::file;
#[cfg(feature = "mdns")]
pub use lan::lan;
#[cfg(feature = "mdns")]
#[cfg(any(fuzzing, test))]
pub(crate) use lan::packet;
pub use list::List;
#[cfg(feature = "store")]
pub use saved::saved;
#[cfg(feature = "tokio")]
pub use task::{Finds, Task};
