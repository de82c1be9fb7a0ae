//! The transports compared with raw sockets and rust-libp2p. `tests/benches/transport` measures.

use anyhow::{Context, Result};

use crate::parts::Part;
use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    let part = Part::Rust;
    let foreign = part.build().context("the rust peer does not build")?;
    let built = step::release(&["bench-peer", "bowline"])?;
    let ours = step::executable(&built, "bench-peer")?;
    let bowline = step::executable(&built, "bowline")?;
    let variables = [
        ("BENCH_PEER".to_owned(), ours),
        ("BOWLINE_BIN".to_owned(), bowline),
        (part.variable(), foreign),
    ];
    super::drive("transport", flags, &variables)
}
