//! Bowline's relay compared with rust-libp2p's. `tests/benches/relay` measures.

use anyhow::{Context, Result};

use crate::parts::Part;
use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    let part = Part::Rust;
    let foreign = part.build().context("the rust peer does not build")?;
    let built = step::release(&["bench-relay"])?;
    let ours = step::executable(&built, "bench-relay")?;
    let variables = [("BENCH_RELAY".to_owned(), ours), (part.variable(), foreign)];
    super::drive("relay", flags, &variables)
}
