//! The transports against raw sockets and rust-libp2p. The measuring itself is `tests/benches/transport`.

use anyhow::{Context, Result};

use crate::parts::Part;
use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    let part = Part::Rust;
    let foreign = part.build().context("the rust peer does not build")?;
    let built = step::release(&["bench-peer"])?;
    let ours = step::executable(&built, "bench-peer")?;
    let variables = [("BENCH_PEER".to_owned(), ours), (part.variable(), foreign)];
    super::drive("transport", flags, &variables)
}
