//! The admin endpoint: who can use it, and who cannot stand in for it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::harness::process::{Signal, run};
use tests::harness::{Finished, Home, Up};

use super::{TCP, assert_done, assert_refused, soon};

/// The user `nobody`. The name does not matter here.
const STRANGER: u32 = 65534;

fn with_data(home: &Home, args: &[&str]) -> Finished {
    run("bowline", &mut home.bowline_with_data(args), soon()).unwrap()
}

fn socket(home: &Home) -> PathBuf {
    home.data_dir().join("admin")
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}

/// Whether this process may start processes of another user.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: only root can start a process of another user");
    }
    root
}

/// The binary, as another user runs it.
fn as_stranger(home: &Home, args: &[&str]) -> Command {
    let place = home.path().join("bowline");
    if !place.exists() {
        // The other user may have no access to the folder in which it was built.
        let built = tests::harness::bowline::binary();
        fs::hard_link(built, &place)
            .or_else(|_| fs::copy(built, &place).map(drop))
            .unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(place);
    command
        .args(args)
        .current_dir("/")
        .uid(STRANGER)
        .gid(STRANGER);
    command
}

#[test]
fn the_endpoint_is_a_socket_that_only_its_owner_can_use() {
    let home = Home::new().unwrap();
    let up = home.up(&["--listen", TCP]).unwrap();
    let socket = socket(&home);
    assert_eq!(up.ready.text("admin"), format!("unix:{}", socket.display()));
    assert!(socket.metadata().unwrap().file_type().is_socket());
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(&home.data_dir()), 0o700);
    assert_done(&with_data(&home, &["peers"]));

    if is_root() {
        // As if the user had opened the directory to everybody.
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(home.data_dir(), open).unwrap();
        let data_dir = home.data_dir();
        let args = [
            "slots",
            "--set",
            "slots=0",
            "--data-dir",
            data_dir.to_str().unwrap(),
        ];
        let refused = run("bowline", &mut as_stranger(&home, &args), soon()).unwrap();
        assert_refused(
            &refused,
            1,
            &[socket.to_str().unwrap(), "Permission denied"],
        );
    }

    up.process.signal(Signal::TERM).unwrap();
    assert_done(&up.process.finish(soon()).unwrap());
    assert!(!socket.exists());
    assert_refused(
        &with_data(&home, &["peers"]),
        1,
        &[home.data_dir().to_str().unwrap()],
    );
}

#[test]
fn the_socket_of_a_killed_node_is_replaced_and_that_of_a_living_node_is_named() {
    let home = Home::new().unwrap();
    let up = home.up(&["--listen", TCP]).unwrap();
    let socket = socket(&home);
    let inode = socket.metadata().unwrap().ino();
    let data_dir = home.data_dir();
    for args in [&["up"][..], &["up", "--admin", "127.0.0.1:0"]] {
        assert_refused(
            &with_data(&home, args),
            2,
            &[data_dir.to_str().unwrap(), "another data directory"],
        );
    }
    assert_eq!(socket.metadata().unwrap().ino(), inode);
    assert_done(&with_data(&home, &["peers"]));

    up.process.signal(Signal::KILL).unwrap();
    up.process.finish(soon()).unwrap();
    assert!(socket.exists(), "a killed node cannot clean up");
    assert_refused(
        &with_data(&home, &["peers"]),
        1,
        &[socket.to_str().unwrap()],
    );
    let _up = home.up(&["--listen", TCP]).unwrap();
    assert_eq!(mode(&socket), 0o600);
    assert_done(&with_data(&home, &["peers"]));
}

#[test]
fn what_is_in_the_place_of_the_socket_or_the_token_is_named_and_left_as_it_is() {
    let home = Home::new().unwrap();
    assert_done(&with_data(&home, &["key", "new"]));
    let target = home.path().join("target");
    fs::write(&target, "precious").unwrap();
    for name in ["admin", "admin-token", "lock"] {
        let path = home.data_dir().join(name);
        let _ = fs::remove_file(&path);
        symlink(&target, &path).unwrap();
        let refused = with_data(&home, &["up", "--listen", TCP, "--admin", "127.0.0.1:0"]);
        assert_refused(
            &refused,
            1,
            &[path.to_str().unwrap(), "symbolic link", "move it away"],
        );
        assert!(path.is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
    }
    let path = socket(&home);
    fs::write(&path, "mine").unwrap();
    assert_refused(&with_data(&home, &["up"]), 1, &[path.to_str().unwrap()]);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

/// A data directory whose socket's path has more than 107 bytes.
fn far(home: &Home) -> PathBuf {
    let far = home.path().join("d".repeat(107));
    fs::create_dir_all(&far).unwrap();
    far
}

fn up_in(home: &Home, data_dir: &Path, runtime: (&str, &Path)) -> Command {
    let mut command = home.bowline(&["up", "--json", "--listen", TCP, "--data-dir"]);
    command.arg(data_dir).env(runtime.0, runtime.1);
    command
}

#[test]
fn a_socket_with_a_long_path_is_in_the_runtime_directory_and_is_found() {
    let home = Home::new().unwrap();
    let far = far(&home);
    for (variable, name) in [("XDG_RUNTIME_DIR", "bowline"), ("TMPDIR", "bowline-")] {
        let runtime = home.path().join(variable);
        fs::create_dir(&runtime).unwrap();
        let up = Up::start(&mut up_in(&home, &far, (variable, &runtime)), soon()).unwrap();
        let at = up.ready.text("admin").to_owned();
        let socket = Path::new(at.strip_prefix("unix:").unwrap());
        assert!(
            at.contains(&format!("{}/{name}", runtime.display())),
            "{at}"
        );
        assert!(socket.metadata().unwrap().file_type().is_socket());
        assert_eq!(
            [mode(socket), mode(socket.parent().unwrap())],
            [0o600, 0o700]
        );
        // A command with another environment finds the socket, too.
        let far = far.to_str().unwrap();
        assert_done(&home.run(&["peers", "--data-dir", far]).unwrap());
        assert_refused(&home.run(&["up", "--data-dir", far]).unwrap(), 2, &[far]);

        up.process.signal(Signal::KILL).unwrap();
        up.process.finish(soon()).unwrap();
        let refused = home.run(&["peers", "--data-dir", far]).unwrap();
        assert_refused(&refused, 1, &[far]);
        let mut again = up_in(&home, Path::new(far), (variable, &runtime));
        let up = Up::start(&mut again, soon()).unwrap();
        assert_eq!(up.ready.text("admin"), at);
        up.process.signal(Signal::TERM).unwrap();
        assert_done(&up.process.finish(soon()).unwrap());
        assert!(!socket.exists());
        assert!(!Path::new(far).join("admin").exists());
    }
}

#[test]
fn a_runtime_directory_that_others_can_enter_is_named() {
    let home = Home::new().unwrap();
    let far = far(&home);
    let runtime = home.path().join("run");
    let ours = runtime.join("bowline");
    let target = home.path().join("target");
    fs::create_dir_all(&target).unwrap();
    for make in [
        |ours: &Path, _: &Path| {
            fs::create_dir(ours).unwrap();
            fs::set_permissions(ours, fs::Permissions::from_mode(0o755)).unwrap();
        },
        |ours: &Path, target: &Path| symlink(target, ours).unwrap(),
        |ours: &Path, _: &Path| fs::write(ours, "").unwrap(),
    ] {
        fs::create_dir(&runtime).unwrap();
        make(&ours, &target);
        let mut up = up_in(&home, &far, ("XDG_RUNTIME_DIR", &runtime));
        let refused = run("bowline", &mut up, soon()).unwrap();
        assert_refused(&refused, 1, &[ours.to_str().unwrap(), "XDG_RUNTIME_DIR"]);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        fs::remove_dir_all(&runtime).unwrap();
    }
}

#[test]
fn a_forged_socket_is_refused_before_anything_is_sent() {
    if !is_root() {
        return;
    }
    let home = Home::new().unwrap();
    fs::create_dir(home.data_dir()).unwrap();
    let socket = socket(&home);
    let forged = UnixListener::bind(&socket).unwrap();
    forged.set_nonblocking(true).unwrap();
    chown(&socket, Some(STRANGER), None).unwrap();
    let stranger = STRANGER.to_string();
    for args in [&["peers"][..], &["slots", "--set", "slots=1"]] {
        let named = [socket.to_str().unwrap(), &stranger];
        assert_refused(&with_data(&home, args), 1, &named);
    }
    let nobody_came = forged.accept().unwrap_err().kind();
    assert_eq!(nobody_came, ErrorKind::WouldBlock);
    fs::remove_file(&socket).unwrap();

    // The file belongs to this user, but the process behind it does not.
    let theirs = home.path().join("theirs");
    let args = [
        "up",
        "--json",
        "--listen",
        TCP,
        "--data-dir",
        theirs.to_str().unwrap(),
    ];
    let mut up = as_stranger(&home, &args);
    fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(STRANGER), Some(STRANGER)).unwrap();
    let _up = Up::start(&mut up, soon()).unwrap();
    fs::hard_link(theirs.join("admin"), &socket).unwrap();
    chown(&socket, Some(0), Some(0)).unwrap();
    let named = [socket.to_str().unwrap(), &stranger];
    assert_refused(&with_data(&home, &["peers"]), 1, &named);

    // Root trusts the owner of the data directory that it names.
    chown(theirs.join("admin"), Some(STRANGER), Some(STRANGER)).unwrap();
    let peers = home.run(&["peers", "--data-dir", theirs.to_str().unwrap()]);
    assert_done(&peers.unwrap());
}

#[test]
fn over_tcp_a_change_needs_the_token_and_the_commands_send_it() {
    let home = Home::new().unwrap();
    let up = home.up(&["--listen", TCP, "--relay-server", "--admin", "127.0.0.1:0"]);
    let up = up.unwrap();
    let at = up.ready.text("admin").to_owned();
    let address = at.strip_prefix("http://").unwrap();
    let token = home.data_dir().join("admin-token");
    assert_eq!(mode(&token), 0o600);

    // A read needs no token, and the socket needs none for anything.
    assert_done(&home.run(&["peers", "--admin", address]).unwrap());
    assert_done(&with_data(&home, &["slots", "--set", "slots=9"]));
    assert_done(&with_data(
        &home,
        &["slots", "--admin", address, "--set", "slots=8"],
    ));
    let elsewhere = home.path().join("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    let set = [
        "slots",
        "--admin",
        address,
        "--set",
        "slots=7",
        "--data-dir",
        elsewhere,
    ];
    assert_refused(
        &home.run(&set).unwrap(),
        1,
        &[address, elsewhere, "--data-dir"],
    );

    let post = "POST /slots HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"slots\":7}";
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(post.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let terms = with_data(&home, &["slots", "--json", "--set", "slots_per_peer=1"]);
    assert_eq!(terms.events().unwrap()[0].0["slots"], 8);

    let before = fs::read(&token).unwrap();
    up.process.signal(Signal::KILL).unwrap();
    up.process.finish(soon()).unwrap();
    let up = home
        .up(&["--listen", TCP, "--admin", "127.0.0.1:0"])
        .unwrap();
    assert_ne!(fs::read(&token).unwrap(), before);
    up.process.signal(Signal::TERM).unwrap();
    assert_done(&up.process.finish(soon()).unwrap());
    assert!(!token.exists());
}

#[test]
fn an_admin_address_that_is_taken_is_named_and_nothing_is_left() {
    let home = Home::new().unwrap();
    assert_done(&with_data(&home, &["key", "new"]));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = with_data(&home, &["up", "--listen", TCP, "--admin", &address]);
    assert_refused(&refused, 1, &[&address, "--admin"]);
    let mut left: Vec<_> = fs::read_dir(home.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["identity.key", "lock"]);
    assert_refused(
        &with_data(&home, &["up", "--admin", "nonsense"]),
        2,
        &["nonsense"],
    );
    assert_refused(
        &with_data(&home, &["up", "--admin", "192.0.2.1:1"]),
        1,
        &["192.0.2.1:1"],
    );
}
