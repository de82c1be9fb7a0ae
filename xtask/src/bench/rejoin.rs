//! A cold start of Bowline compared with one of rust-libp2p. `tests/benches/rejoin` measures.

use anyhow::{Context, Result};

use crate::parts::Part;
use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    let part = Part::Rust;
    let foreign = part.build().context("the rust peer does not build")?;
    let built = step::release(&["bench-rejoin"])?;
    let ours = step::executable(&built, "bench-rejoin")?;
    let variables = [
        ("BENCH_REJOIN".to_owned(), ours),
        (part.variable(), foreign),
    ];
    super::drive("rejoin", flags, &variables)
}
