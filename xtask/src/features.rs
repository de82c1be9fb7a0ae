//! `cargo xtask features`: every combination of the node's features builds, and every leaf alone, without a warning.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::step;

/// What the node is made of. Any subset of these must build, with and without [`AROUND`].
const CONNECTIVITY: [&str; 5] = ["tcp", "quic", "relay", "gossip", "bootstrap"];

/// What only the binary needs.
const AROUND: [&str; 2] = ["cli", "metrics"];

pub(crate) fn run() -> Result<()> {
    let mut checks = leaves(&step::metadata()?)?;
    // The outer loop is over what changes the dependencies most.
    for around in [&AROUND[..], &[]] {
        for connectivity in subsets(&CONNECTIVITY) {
            let features = [&connectivity, around].concat().join(",");
            checks.push(check(
                "node",
                &["--no-default-features", "--features", &features],
            ));
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

/// One check a leaf, and where it has features also with none and all of them.
fn leaves(metadata: &Value) -> Result<Vec<Vec<String>>> {
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let mut checks = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let is_crate = package["manifest_path"]
            .as_str()
            .is_some_and(|path| path.contains("/crates/"));
        if !is_crate || name == "node" {
            continue;
        }
        checks.push(check(name, &[]));
        if package["features"]
            .as_object()
            .is_some_and(|features| !features.is_empty())
        {
            checks.push(check(name, &["--no-default-features"]));
            checks.push(check(name, &["--all-features"]));
        }
    }
    Ok(checks)
}

fn check(package: &str, features: &[&str]) -> Vec<String> {
    [&["--package", package], features]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
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
    fn a_leaf_with_features_is_checked_without_and_with_all_of_them() {
        let package = |name: &str, features: Value| serde_json::json!({"name": name, "manifest_path": format!("/w/crates/{name}/Cargo.toml"), "features": features});
        let packages = [
            package("a", serde_json::json!({})),
            package("b", serde_json::json!({"x": []})),
        ];
        let checks = leaves(&serde_json::json!({"packages": packages})).unwrap();
        let expected = [
            "--package a",
            "--package b",
            "--package b --no-default-features",
            "--package b --all-features",
        ];
        assert_eq!(
            checks
                .iter()
                .map(|check| check.join(" "))
                .collect::<Vec<_>>(),
            expected
        );
    }

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
