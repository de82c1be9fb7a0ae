//! The figures of a part, for the node's metrics.

/// A number about a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figure {
    /// The name, without the prefix of all metrics and without the suffix of counters.
    pub(crate) name: &'static str,
    /// The meaning of the number, for people.
    pub(crate) help: &'static str,
    pub(crate) value: u64,
    /// Whether the number only rises, from zero when the node is built.
    pub(crate) is_counter: bool,
}

impl Figure {
    /// A number that may rise and fall.
    pub(crate) fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            help,
            value,
            is_counter: false,
        }
    }

    /// A number that only rises.
    pub(crate) fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            help,
            value,
            is_counter: true,
        }
    }
}
