//! The implementations of [`Dialer`](crate::Dialer) that come with the crate.

mod background;
pub(crate) mod balance;
pub(crate) mod bound;
pub(crate) mod chain;
pub(crate) mod deadline;
pub(crate) mod direct;
pub(crate) mod eyeballs;
pub(crate) mod fallback;
mod health;
pub(crate) mod http_connect;
mod lookup;
pub(crate) mod metered;
#[cfg(feature = "test")]
pub(crate) mod misbehaving;
pub(crate) mod proxy;
mod race;
pub(crate) mod retry;
pub(crate) mod rule_text;
pub(crate) mod rules;
pub(crate) mod socks5;
pub(crate) mod uplink;
pub(crate) mod warm;
pub(crate) mod wrap;
