//! conn-state against what a user would write himself. The measuring itself is `tests/benches/state`.

use anyhow::Result;

use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    let built = step::release(&["bench-state"])?;
    let ours = step::executable(&built, "bench-state")?;
    super::drive("state", flags, &[("BENCH_STATE".to_owned(), ours)])
}
