//! A thin node that composes the six crates, and the bowline binary.
