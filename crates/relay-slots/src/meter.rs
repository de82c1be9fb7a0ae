//! Counts the bytes of a circuit.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A direction of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the source to the destination.
    ToDestination,
    /// From the destination to the source.
    ToSource,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToDestination => "to the destination",
            Self::ToSource => "to the source",
        })
    }
}

/// Counts the bytes of one circuit. The pump adds to the counts, and any thread may read them at any time.
#[derive(Debug, Default)]
pub struct Meter {
    to_destination: AtomicU64,
    to_source: AtomicU64,
}

impl Meter {
    /// Bytes that the stream at the receiving end has accepted.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.counter(direction).load(Relaxed)
    }

    /// The bytes of both directions.
    pub fn total(&self) -> u64 {
        let [there, back] = [Direction::ToDestination, Direction::ToSource];
        self.bytes(there).wrapping_add(self.bytes(back))
    }

    /// Adds bytes that the stream at the receiving end has accepted.
    pub fn add(&self, direction: Direction, bytes: u64) {
        self.counter(direction).fetch_add(bytes, Relaxed);
    }

    fn counter(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToDestination => &self.to_destination,
            Direction::ToSource => &self.to_source,
        }
    }
}
