//! Noise XX as the libp2p Noise specification requires.

mod cipher;
mod handshake;
mod payload;
mod stream;

#[cfg(any(fuzzing, test))]
pub(crate) use cipher::Cipher;
pub(crate) use handshake::Noise;
#[cfg(any(fuzzing, test))]
pub(crate) use payload::verify as verify_payload;
#[cfg(any(fuzzing, test))]
pub(crate) use stream::NoiseStream;

/// Authentication tag of a message.
const TAG: usize = 16;
/// Length prefix of a message.
const PREFIX: usize = 2;
/// The longest Noise message (Noise spec section 3).
const MAX_NOISE_MESSAGE: usize = u16::MAX as usize;
