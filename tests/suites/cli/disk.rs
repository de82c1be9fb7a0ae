//! A disk that is full, and one that is read-only.

use std::fs;
use std::process::Command;

use tests::harness::process::run;
use tests::harness::{Finished, Home, Up};

use super::{TCP, assert_done, assert_refused, soon};

/// Runs `bowline ARGS` with this home's data directory on a file system of its own. `prepare` is a shell script that
/// runs in that directory first. Standard output ends with the names of the files that are left.
///
/// `None`: this user may not make a file system.
pub(super) fn on_a_small_disk(home: &Home, prepare: &str, args: &[&str]) -> Option<Finished> {
    let may = Command::new("unshare").args(["-rm", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        println!("skipped: this user may not make namespaces");
        return None;
    }
    fs::create_dir_all(home.data_dir()).unwrap();
    let script = format!(
        "set -e; cd \"$1\"; key=$(cat identity.key 2>/dev/null | base64); \
         mount -t tmpfs -o size=64k,mode=700 small \"$1\"; cd \"$1\"; {prepare}; shift; \
         set +e; \"$@\"; code=$?; ls -A; exit $code"
    );
    let inner = home.bowline_with_data(args);
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script, "sh"]);
    command.arg(home.data_dir());
    append(&mut command, &inner);
    Some(run("bowline", &mut command, soon()).unwrap())
}

/// Makes `inner` the last arguments of `outer`, with its environment.
pub(super) fn append(outer: &mut Command, inner: &Command) {
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
}

const FILL: &str = "cat /dev/zero > fill 2>/dev/null || true";
pub(super) const KEY: &str = "echo \"$key\" | base64 -d > identity.key; chmod 600 identity.key";

#[test]
fn on_a_full_disk_the_file_is_named_and_nothing_is_left() {
    let home = Home::new().unwrap();
    let key = home.data_dir().join("identity.key");
    for args in [&["up", "--listen", TCP][..], &["key", "new"]] {
        let Some(refused) = on_a_small_disk(&home, FILL, args) else {
            return;
        };
        assert_refused(
            &refused,
            1,
            &[key.to_str().unwrap(), "No space left", "free some space"],
        );
        assert_eq!(refused.stdout, ["fill"]);
    }
}

#[test]
fn on_a_full_disk_a_node_with_a_key_names_what_it_cannot_write() {
    let home = Home::new().unwrap();
    let mut new = home.bowline_with_data(&["key", "new"]);
    assert_done(&run("bowline", &mut new, soon()).unwrap());
    let prepare = format!("{KEY}; {FILL}");
    let args = ["up", "--listen", TCP, "--admin", "127.0.0.1:0"];
    let Some(refused) = on_a_small_disk(&home, &prepare, &args) else {
        return;
    };
    let token = home.data_dir().join("admin-token");
    assert_refused(
        &refused,
        1,
        &[token.to_str().unwrap(), "No space left", "free some space"],
    );
    assert_eq!(refused.stdout, ["fill", "identity.key", "lock"]);
}

pub(super) const READ_ONLY: &str = "mount -o remount,ro \"$1\"";

#[test]
fn on_a_read_only_disk_without_a_key_the_file_is_named() {
    let home = Home::new().unwrap();
    let Some(refused) = on_a_small_disk(&home, READ_ONLY, &["up", "--listen", TCP]) else {
        return;
    };
    let file = home.data_dir().join("identity.key");
    let named = [
        file.to_str().unwrap(),
        "Read-only file system",
        "--data-dir",
    ];
    assert_refused(&refused, 1, &named);
}

/// A command whose standard output or error, by the shell's number, is on a full disk.
fn with_full(stream: u8, inner: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$@\" {stream}> /dev/full"), "sh"]);
    append(&mut shell, inner);
    shell
}

#[test]
fn a_full_disk_under_standard_error_stops_nothing() {
    let home = Home::new().unwrap();
    let up = home.bowline_with_data(&["up", "--json", "--listen", TCP]);
    let mut up = with_full(2, &up);
    // Each handshake logs many lines at this level.
    let up = Up::start(up.env("RUST_LOG", "trace"), soon()).unwrap();
    let ping = home.run(&["ping", "-c", "2", &up.addresses()[0]]);
    assert_done(&ping.unwrap());
    assert_done(&run("bowline", &mut home.bowline_with_data(&["peers"]), soon()).unwrap());
    // An error that cannot be printed still has its exit code.
    let mut wrong = with_full(2, &home.bowline(&["ping", "nonsense"]));
    assert_eq!(wrong.status().unwrap().code(), Some(2));
}

#[test]
fn a_full_disk_under_standard_output_is_named() {
    let home = Home::new().unwrap();
    let inner = home.bowline_with_data(&["key", "new"]);
    let refused = run("bowline", &mut with_full(1, &inner), soon()).unwrap();
    assert_refused(&refused, 1, &["standard output", "No space left"]);
}
