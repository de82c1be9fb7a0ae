//! The encodings of ping and identify. Both need nothing but a byte stream.

pub mod identify;
pub mod ping;
