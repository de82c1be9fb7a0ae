//! The binders that ship with the crate.

mod bound;
mod lossy;
mod tuned;

pub use self::{
    bound::BoundTo,
    lossy::{Lossy, Rates, Weather},
    tuned::Tuned,
};
