//! The figures of a part, for the node's metrics.

/// A number about a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figure {
    /// The name, without the prefix of all metrics and without the suffix of counters.
    pub(crate) name: &'static str,
    /// The meaning of the number, for people.
    pub(crate) help: &'static str,
    pub(crate) kind: FigureKind,
    pub(crate) value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FigureKind {
    /// The number may rise and fall.
    Gauge,
    /// The number only rises. It starts at zero when the node is built.
    Counter,
}

impl Figure {
    pub(crate) fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        let kind = FigureKind::Gauge;
        Self {
            name,
            help,
            kind,
            value,
        }
    }

    pub(crate) fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        let kind = FigureKind::Counter;
        Self {
            name,
            help,
            kind,
            value,
        }
    }
}
