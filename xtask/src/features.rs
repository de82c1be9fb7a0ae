//! `cargo xtask features`: every combination of the node's features builds, and every leaf alone, without a warning.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::step;

/// What the node is made of. Any subset of these must build, with and without [`AROUND`].
const CONNECTIVITY: [&str; 5] = ["tcp", "quic", "relay", "gossip", "bootstrap"];

/// What only the binary needs.
const AROUND: [&str; 2] = ["cli", "metrics"];

pub(crate) fn run() -> Result<()> {
    let mut checks = Vec::new();
    for leaf in leaves()? {
        checks.push(vec!["--package".to_owned(), leaf.clone()]);
        checks.push(vec![
            "--package".to_owned(),
            leaf.clone(),
            "--no-default-features".to_owned(),
        ]);
        checks.push(vec![
            "--package".to_owned(),
            leaf,
            "--all-features".to_owned(),
        ]);
    }
    // The outer loop is over what changes the dependencies most.
    for around in [&AROUND[..], &[]] {
        for connectivity in subsets(&CONNECTIVITY) {
            let features = [&connectivity, around].concat().join(",");
            let package = [
                "--package",
                "node",
                "--no-default-features",
                "--features",
                &features,
            ];
            checks.push(package.map(str::to_owned).to_vec());
        }
    }
    let mut broken = Vec::new();
    for (number, check) in checks.iter().enumerate() {
        let name = check.join(" ");
        println!("[{}/{}] cargo check {name}", number + 1, checks.len());
        if !is_clean(check)? {
            broken.push(name);
        }
    }
    ensure!(
        broken.is_empty(),
        "{} of {} do not build cleanly:\n  {}",
        broken.len(),
        checks.len(),
        broken.join("\n  ")
    );
    println!("{} combinations build", checks.len());
    Ok(())
}

/// The packages below `crates/` except the one that composes them.
fn leaves() -> Result<Vec<String>> {
    let metadata = step::metadata()?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let names = packages.iter().filter_map(|package| {
        let is_crate = package["manifest_path"].as_str()?.contains("/crates/");
        let name = package["name"].as_str()?;
        (is_crate && name != "node").then(|| name.to_owned())
    });
    Ok(names.collect())
}

fn subsets<'a>(all: &[&'a str]) -> Vec<Vec<&'a str>> {
    let of_mask = |mask: u32| {
        (0..all.len())
            .filter(|bit| mask & (1 << bit) != 0)
            .map(|bit| all[bit])
            .collect()
    };
    (0..1 << all.len()).map(of_mask).collect()
}

/// Checks, and prints what the compiler has against it. Warnings count: code that only some combinations use must say
/// so.
fn is_clean(check: &[String]) -> Result<bool> {
    let mut cargo = step::cargo(&[
        "check",
        "--quiet",
        "--message-format=json-diagnostic-rendered-ansi",
    ]);
    let mut complaints = 0;
    let succeeded = step::stream(cargo.args(check), |line| {
        let message = serde_json::from_str::<Value>(line).unwrap_or_default();
        if let Some(rendered) = message["message"]["rendered"].as_str() {
            eprint!("{rendered}");
            complaints += 1;
        }
    })?;
    Ok(succeeded && complaints == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subset_comes_once() {
        let mut subsets = subsets(&["a", "b", "c"]);
        assert_eq!(subsets.len(), 8);
        assert!(
            subsets.contains(&vec![])
                && subsets.contains(&vec!["a", "c"])
                && subsets.contains(&vec!["a", "b", "c"])
        );
        subsets.sort();
        subsets.dedup();
        assert_eq!(subsets.len(), 8);
    }
}
