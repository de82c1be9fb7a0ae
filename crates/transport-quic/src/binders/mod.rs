//! The binders that ship with the crate.

mod bound;
mod misbehaving;
mod tuned;

pub use self::{
    bound::BoundTo,
    misbehaving::{FaultControl, Faults, Misbehaving},
    tuned::Tuned,
};
