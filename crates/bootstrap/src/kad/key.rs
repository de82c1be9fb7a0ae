//! Points of the key space and the distances between them (libp2p kad-dht spec, section "Distance").

use std::fmt;

use sha2::{Digest, Sha256};

/// A point of the key space: the SHA-256 hash of a peer id, or of the key of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    high: u128,
    low: u128,
}

impl Key {
    /// The point of these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self::from_hash(Sha256::digest(bytes).into())
    }

    /// The point with this hash.
    pub fn from_hash(hash: [u8; 32]) -> Self {
        let half =
            |first: usize| u128::from_be_bytes(std::array::from_fn(|byte| hash[first + byte]));
        Self {
            high: half(0),
            low: half(16),
        }
    }

    /// The distance: the exclusive or of the two points.
    pub fn distance(&self, other: &Self) -> Distance {
        Distance {
            high: self.high ^ other.high,
            low: self.low ^ other.low,
        }
    }

    /// How many leading bits both points share.
    pub(crate) fn shared_bits(&self, other: &Self) -> u32 {
        self.distance(other).leading_zeros()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:032x}…)", self.high)
    }
}

/// The distance between two points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance {
    high: u128,
    low: u128,
}

impl Distance {
    pub(crate) const ZERO: Self = Self { high: 0, low: 0 };

    pub(crate) fn leading_zeros(self) -> u32 {
        match self.high {
            0 => 128 + self.low.leading_zeros(),
            high => high.leading_zeros(),
        }
    }

    /// The distance in units of the whole key space, from 0 to 1.
    pub fn fraction(self) -> f64 {
        self.high as f64 / 2f64.powi(128)
    }

    /// The reverse of [`Distance::fraction`]. Fractions outside 0 to 1 are cut.
    pub(crate) fn from_fraction(fraction: f64) -> Self {
        Self {
            // A cast of a float to an integer saturates.
            high: (fraction * 2f64.powi(128)) as u128,
            low: 0,
        }
    }
}

/// Bytes whose point shares exactly `bits` leading bits with `near`. `None`: `tries` random inputs had no such point.
pub(crate) fn preimage(
    near: &Key,
    bits: u32,
    tries: u32,
    mut random: impl FnMut() -> u64,
) -> Option<Vec<u8>> {
    (0..tries).find_map(|_| {
        // The shape of a peer id with a SHA-256 hash, because servers may refuse a key that is no peer id.
        let mut bytes = vec![0x12, 0x20];
        (0..4).for_each(|_| bytes.extend(random().to_be_bytes()));
        (Key::of(&bytes).shared_bits(near) == bits).then_some(bytes)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_distance_counts_shared_bits_and_converts_to_a_fraction_and_back() {
        let zero = Key::from_hash([0; 32]);
        let mut hash = [0; 32];
        hash[0] = 0x20;
        let eighth = zero.distance(&Key::from_hash(hash));
        assert_eq!(eighth.leading_zeros(), 2);
        assert_eq!(eighth.fraction(), 0.125);
        assert_eq!(Distance::from_fraction(0.125), eighth);
        assert_eq!(zero.distance(&zero).leading_zeros(), 256);
        assert_eq!(Distance::from_fraction(-1.0), Distance::ZERO);
        assert_eq!(Distance::from_fraction(2.0).leading_zeros(), 0);
    }

    #[test]
    fn the_key_of_bytes_is_their_sha_256_hash() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let byte = |at: usize| u8::from_str_radix(&hash[at..at + 2], 16).unwrap();
        let hash: [u8; 32] = std::array::from_fn(|index| byte(index * 2));
        assert_eq!(Key::of("abc"), Key::from_hash(hash));
    }

    proptest! {
        #[test]
        fn a_preimage_is_in_the_wanted_bucket(seed: u64, bits in 0u32..8) {
            let near = Key::of(seed.to_be_bytes());
            let mut state = seed;
            let random = || { state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); state };
            let bytes = preimage(&near, bits, 10_000, random).unwrap();
            prop_assert_eq!(Key::of(bytes).shared_bits(&near), bits);
        }
    }
}
