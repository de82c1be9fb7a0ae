//! conn-state compared with the simplest code for its task. `tests/benches/state` measures.

use anyhow::Result;

use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    let built = step::release(&["bench-state"])?;
    let ours = step::executable(&built, "bench-state")?;
    super::drive("state", flags, &[("BENCH_STATE".to_owned(), ours)])
}
