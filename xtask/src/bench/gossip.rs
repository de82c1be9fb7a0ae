//! Messages to all members of a topic by Bowline, iroh-gossip and gossipsub. `tests/benches/gossip` measures.

use anyhow::{Context, Result};

use crate::parts::Part;
use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    let mut variables = Vec::new();
    for part in [Part::Rust, Part::Iroh] {
        let built = part.build();
        let program = built.with_context(|| format!("the {} peer does not build", part.name()))?;
        variables.push((part.variable(), program));
    }
    let built = step::release(&["bench-gossip"])?;
    let ours = step::executable(&built, "bench-gossip")?;
    variables.push(("BENCH_GOSSIP".to_owned(), ours));
    super::drive("gossip", flags, &variables)
}
