//! The harness that the suites share: it starts nodes and foreign peers as processes, waits for their lines under a
//! deadline, and always reaps them.
//!
//! ```text
//! suites/*.rs     one test target a suite      ─┐
//! benches/*       one bench target an area     ─┼─► harness ─► processes
//! peers/*         foreign peers, own lock files ┘
//! ```

pub mod any_certificate;
pub mod harness;
