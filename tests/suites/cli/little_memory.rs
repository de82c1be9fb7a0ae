//! A node in a control group with little memory.

use std::process::Command;

use tests::harness::process::{Process, Signal};
use tests::harness::{Finished, Home};

use super::disk::append;
use super::{TCP, assert_done, soon};

/// Runs a node until its ready line. The log has the limits that follow from the memory.
fn ready(prepare: &str) -> Finished {
    let home = Home::new().unwrap();
    let script = format!("set -e; {prepare}; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script, "sh"]);
    append(
        &mut command,
        &home.bowline_with_data(&["up", "--json", "--listen", TCP]),
    );
    command.env("RUST_LOG", "bowline=info");
    let mut node = Process::spawn("bowline", &mut command).unwrap();
    node.next(soon()).unwrap();
    node.signal(Signal::TERM).unwrap();
    let finished = node.finish(soon()).unwrap();
    assert_done(&finished);
    finished
}

#[test]
fn the_number_of_connections_follows_the_memory_of_the_control_group() {
    let may = Command::new("unshare").args(["-rm", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        println!("skipped: this user may not make namespaces");
        return;
    }
    // The node reads these files at the place where the system mounts its control groups.
    let group = |limit: u64| {
        format!("mount -t tmpfs groups /sys/fs/cgroup; echo {limit} > /sys/fs/cgroup/memory.max")
    };
    for (prepare, inbound) in [
        (group(256 << 20), 128),
        (group(1 << 30), 256),
        (group((1 << 30) - 1), 128),
    ] {
        let finished = ready(&prepare);
        let line = finished
            .stderr
            .iter()
            .find(|line| line.contains("max_inbound is"));
        println!("{prepare}: {line:?}");
        assert!(
            line.unwrap().contains(&format!("max_inbound is {inbound}")),
            "{finished:?}"
        );
    }
}
