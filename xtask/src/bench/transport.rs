//! The transports against raw sockets and rust-libp2p. The measuring itself is `tests/benches/transport`.

use anyhow::{Context, Result};

use crate::parts::Part;
use crate::step;

pub(super) fn run(flags: &[String]) -> Result<()> {
    let foreign = Part::Rust.build().context("the rust peer does not build")?;
    let built = step::release(&["bench-peer"])?;
    let ours = step::executable(&built, "bench-peer")?;
    let metadata = step::metadata()?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target folder")?;

    // The driver itself is not measured, so it need not be optimized.
    let mut driver = step::cargo(&[
        "bench",
        "--quiet",
        "--workspace",
        "--profile",
        "dev",
        "--bench",
        "transport",
        "--",
    ]);
    driver
        .args(flags)
        .env("BENCH_PEER", ours)
        .env("PEER_RUST", foreign);
    step::succeed(driver.env("BENCH_OUT", format!("{target}/bench/transport.json")))
}
