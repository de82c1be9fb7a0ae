//! The protocols every node speaks.

pub mod identify;
pub mod ping;
