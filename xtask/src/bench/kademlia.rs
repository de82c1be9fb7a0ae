//! Lookups in a DHT by Bowline and by rust-libp2p. `tests/benches/kademlia` measures.

use anyhow::{Context, Result};

use crate::parts::Part;
use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    let part = Part::Rust;
    let foreign = part.build().context("the rust peer does not build")?;
    let built = step::release(&["bench-kademlia"])?;
    let ours = step::executable(&built, "bench-kademlia")?;
    let variables = [
        ("BENCH_KADEMLIA".to_owned(), ours),
        (part.variable(), foreign),
    ];
    super::drive("kademlia", flags, &variables)
}
