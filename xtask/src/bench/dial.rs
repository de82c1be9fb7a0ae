//! The dialers against the bare libraries under them. The measuring itself is `tests/benches/dial`.

use anyhow::Result;

use crate::parts::Part;
use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    // It is not watched here, so its program is all that is needed.
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
