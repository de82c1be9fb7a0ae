//! The implementations of [`Dialer`](crate::Dialer) that come with the crate.

pub(crate) mod direct;
pub(crate) mod eyeballs;
