//! Running other programs.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let mut root = PathBuf::from(manifest);
        root.pop();
        root
    })
}

/// A program that runs in the workspace's folder, or in `folder` below it.
pub(crate) fn program(name: &str, folder: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root().join(folder));
    // Cargo sets these for xtask itself. Build scripts that watch them would run again each time.
    for (key, _) in env::vars_os() {
        if key
            .to_str()
            .is_some_and(|key| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(key);
        }
    }
    command
}

/// Cargo in the workspace's folder.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = program(&cargo, "");
    command.args(args);
    command
}

/// Runs a command that must succeed, its output passed through.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown}: {status}");
    Ok(())
}

/// Runs a command that must succeed and gives its standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(output.status.success(), "{shown}: {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("the output of {shown} is not text"))
}

/// Runs a command and shows each line of its standard output to `each` as it comes. Gives whether it succeeded.
pub(crate) fn stream(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    let shown = show(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {shown}"))?;
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line)? > 0 {
            each(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
            line.clear();
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for {shown}"))?;
    Ok(status.success())
}

/// Builds with cargo and gives the executables by the names of their targets.
pub(crate) fn build(command: &mut Command) -> Result<BTreeMap<String, PathBuf>> {
    let output = capture(command.arg("--message-format=json-render-diagnostics"))?;
    let messages = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let executables = messages.filter_map(|message| {
        let path = message["executable"].as_str()?;
        // A binary's unit tests are an executable of the same name.
        if message["profile"]["test"].as_bool()? {
            return None;
        }
        Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
    });
    Ok(executables.collect())
}

/// Makes cargo in a workspace of its own build into this workspace's target folder, and its build scripts in the same way: what
/// both use in the same version is built once, first of all the cryptography in C.
pub(crate) fn share_target_folder(cargo: &mut Command) -> Result<()> {
    cargo.env("CARGO_TARGET_DIR", target_folder()?);
    for profile in ["DEV", "RELEASE"] {
        cargo.env(
            format!("CARGO_PROFILE_{profile}_BUILD_OVERRIDE_DEBUG"),
            "false",
        );
    }
    Ok(())
}

/// Where cargo builds this workspace.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let metadata = metadata()?;
    let folder = metadata["target_directory"].as_str();
    Ok(folder
        .context("cargo metadata names no target folder")?
        .into())
}

/// Builds these binaries with the release profile. The packages are always the same two, so that the dependencies have the same
/// features for every binary and are built once.
pub(crate) fn release(bins: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = cargo(&[
        "build",
        "--release",
        "--package",
        "node",
        "--package",
        "tests",
    ]);
    build(cargo.args(bins.iter().flat_map(|bin| ["--bin", bin])))
}

/// The one executable that must be among those built.
pub(crate) fn executable(built: &BTreeMap<String, PathBuf>, name: &str) -> Result<PathBuf> {
    built
        .get(name)
        .cloned()
        .with_context(|| format!("cargo built no executable {name}"))
}

/// What `cargo metadata` says about the workspace's own packages.
pub(crate) fn metadata() -> Result<Value> {
    let text = capture(&mut cargo(&[
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    serde_json::from_str(&text).context("cargo metadata is not JSON")
}

/// Whether the PATH has a program of that name.
pub(crate) fn on_path(name: &str) -> bool {
    find(name).is_some()
}

/// Where on the PATH a program is.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&path())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// The PATH with the folders of servers and administrators' tools, which a user's PATH may lack.
pub(crate) fn path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    // No folder of a PATH contains the separator, so they always join again.
    env::join_paths(folders).unwrap_or(path)
}

/// Whether this process may start a child in namespaces of its own, as root may.
pub(crate) fn may_unshare() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "--pid", "--fork", "true"]);
    let done = unshare.env("PATH", path()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_the_path_has_it() {
        let cargo = find("cargo").expect("cargo runs this test");
        assert!(cargo.ends_with("cargo") && cargo.is_file(), "{cargo:?}");
        assert!(on_path("cargo"));
        assert_eq!(find("no-such-program"), None);
        assert!(!on_path("no-such-program"));
    }

    #[test]
    fn the_path_is_kept_and_the_administrators_folders_come_last() {
        let folders: Vec<PathBuf> = env::split_paths(&path()).collect();
        let own: Vec<PathBuf> =
            env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        assert_eq!(folders[..own.len()], own);
        assert_eq!(
            folders[own.len()..],
            [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]
        );
    }
}
