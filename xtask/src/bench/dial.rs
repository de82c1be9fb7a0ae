//! The dialers compared with the bare libraries below them. `tests/benches/dial` measures.

use anyhow::Result;

use crate::parts::Part;
use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    // Only its program is needed here, and no namespaces.
    let part = Part::Microsocks;
    let Some(proxy) = part.program() else {
        println!("dial: skipped, the PATH has no {}", part.name());
        return Ok(());
    };
    let built = step::release(&["bench-dial"])?;
    let ours = step::executable(&built, "bench-dial")?;
    let variables = [("BENCH_DIAL".to_owned(), ours), (part.variable(), proxy)];
    super::drive("dial", flags, &variables)
}
