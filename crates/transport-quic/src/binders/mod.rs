//! The sockets that ship with the crate.

mod bound;
mod burst;
mod lossy;
mod socket;
mod tuned;

pub use self::{
    bound::BoundTo,
    lossy::{Lossy, Rates, Weather},
    tuned::Tuned,
};
