//! Wrong input to each command: one line that names the thing, and the right exit code.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::thread;

use tests::harness::process::run;
use tests::harness::{Finished, Home};

use super::{NOBODY, QUIC, TCP, assert_refused, free_port, soon};

/// `up` with this home's data, run to the end that it must come to by itself.
fn up(home: &Home, args: &[&str]) -> Finished {
    run(
        "bowline",
        home.bowline_with_data(&["up", "--json"]).args(args),
        soon(),
    )
    .unwrap()
}

#[test]
fn a_peer_that_is_not_there_is_named_with_exit_code_1() {
    let home = Home::new().unwrap();
    let port = free_port();
    let tcp = format!("/ip4/127.0.0.1/tcp/{port}");
    let quic = format!("/ip4/127.0.0.1/udp/{port}/quic-v1");
    // At the same time: over QUIC nothing but a timeout tells that nobody is there.
    thread::scope(|scope| {
        for address in [&tcp, &quic] {
            for command in ["ping", "identify"] {
                let home = &home;
                scope.spawn(move || {
                    let refused = home
                        .run(&[command, &format!("{address}/p2p/{NOBODY}")])
                        .unwrap();
                    assert_refused(&refused, 1, &[address]);
                });
            }
        }
    });
}

#[test]
fn a_peer_with_another_identity_is_named_with_exit_code_1() {
    let home = Home::new().unwrap();
    let node = home.up(&["--listen", TCP, "--listen", QUIC]).unwrap();
    for address in node.addresses() {
        let wrong = address.replace(node.peer_id(), NOBODY);
        for command in ["ping", "identify"] {
            assert_refused(
                &home.run(&[command, &wrong]).unwrap(),
                1,
                &[NOBODY, node.peer_id()],
            );
        }
    }
}

#[test]
fn a_listen_address_that_is_taken_is_named_with_exit_code_1() {
    let home = Home::new().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", tcp.local_addr().unwrap().port());
    assert_refused(&up(&home, &["--listen", &address]), 1, &[&address]);

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!(
        "/ip4/127.0.0.1/udp/{}/quic-v1",
        udp.local_addr().unwrap().port()
    );
    assert_refused(&up(&home, &["--listen", &address]), 1, &[&address]);
}

#[test]
fn a_configuration_file_that_cannot_be_read_is_named_with_exit_code_2() {
    let home = Home::new().unwrap();
    let missing = home.path().join("missing.toml");
    let folder = home.path().join("folder.toml");
    fs::create_dir(&folder).unwrap();
    let not_text = home.path().join("bytes.toml");
    fs::write(&not_text, [0xff, 0xfe, 0x00]).unwrap();
    for file in [missing, folder, not_text] {
        let name = file.to_str().unwrap();
        assert_refused(&up(&home, &["--config", name]), 2, &[name]);
    }
}

#[test]
fn a_data_folder_that_is_a_file_is_named() {
    let home = Home::new().unwrap();
    fs::write(home.data_dir(), "a file where the folder should be").unwrap();
    for (job, code) in [
        (["up", "--listen", TCP].as_slice(), 2),
        (&["key", "show"], 2),
        (&["key", "new"], 1),
    ] {
        let refused = run("bowline", &mut home.bowline_with_data(job), soon()).unwrap();
        assert_refused(&refused, code, &[home.data_dir().to_str().unwrap()]);
    }
}
