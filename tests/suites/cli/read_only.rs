//! A data directory that another node uses, and one that cannot be written.

use std::process::Command;

use tests::harness::Home;
use tests::harness::process::{Process, Signal, run};

use super::disk::{KEY, READ_ONLY, append};
use super::{TCP, assert_done, assert_refused, home_with_key, soon};

#[test]
fn a_second_node_with_the_same_data_directory_names_the_directory_and_the_process() {
    let home = Home::new().unwrap();
    let first = home.up(&["--listen", TCP]).unwrap();
    let mut second = home.bowline_with_data(&["up", "--listen", TCP]);
    let refused = run("bowline", &mut second, soon()).unwrap();
    let process = format!("process {}", first.process.id());
    let data_dir = home.data_dir();
    assert_refused(&refused, 2, &[data_dir.to_str().unwrap(), &process]);
    first.process.signal(Signal::TERM).unwrap();
    assert_done(&first.process.finish(soon()).unwrap());
    let third = home.up(&["--listen", TCP]).unwrap();
    third.process.signal(Signal::KILL).unwrap();
    third.process.finish(soon()).unwrap();
    // The number of the killed process is still in the file, and no obstacle.
    home.up(&["--listen", TCP]).unwrap();
}

/// What happens in the namespace: the node runs, a command finds it, a second node is refused, and SIGTERM ends the node.
const SCRIPT: &str = r#"
bowline=$1; shift
"$bowline" up --listen /ip4/127.0.0.1/tcp/0 --admin 127.0.0.1:0 "$@" &
node=$!
tries=0
until "$bowline" peers "$@" > /dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || exit 91
    sleep 0.1
done
"$bowline" up --listen /ip4/127.0.0.1/tcp/0 "$@"
[ $? = 2 ] || exit 92
kill -TERM $node
wait $node
"#;

#[test]
fn a_node_with_a_key_in_a_read_only_directory_runs_and_names_what_it_cannot_save() {
    let may = Command::new("unshare").args(["-rm", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        println!("skipped: this user may not make namespaces");
        return;
    }
    let (home, _) = home_with_key();
    let script = format!(
        "set -e; cd \"$1\"; key=$(base64 < identity.key); \
         mount -t tmpfs -o size=64k,mode=700 small \"$1\"; cd \"$1\"; {KEY}; cd /; {READ_ONLY}; shift; set +e; {SCRIPT}"
    );
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-c", &script, "sh"])
        .arg(home.data_dir());
    append(&mut command, &home.bowline_with_data(&[]));
    // Without this variable, the socket would be in a directory that all tests share.
    command.env("XDG_RUNTIME_DIR", home.path());
    let node = Process::spawn("bowline", &mut command).unwrap();
    let finished = node.finish(soon()).unwrap();
    assert_done(&finished);
    let log = &finished.stderr;
    assert_eq!(log.len(), 2, "{finished:?}");
    let data_dir = home.data_dir();
    for named in [
        data_dir.to_str().unwrap(),
        "lock, admin, admin-token, peers",
        "unix:",
    ] {
        assert!(log[0].contains(named), "{named}: {finished:?}");
    }
    assert!(log[1].contains("another node runs"), "{finished:?}");
    assert!(home.path().join("bowline").exists(), "{finished:?}");
}
