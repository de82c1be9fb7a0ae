//! The protocols ping and identify, over any byte stream.

pub mod identify;
pub mod ping;
