//! A node that runs, and what asks it.

use std::net::TcpListener;

use tests::harness::process::{Signal, run};
use tests::harness::{Event, Home};

use super::{QUIC, TCP, assert_done, soon};

#[test]
fn a_fresh_node_listens_on_tcp_and_quic_and_each_of_its_addresses_answers() {
    let home = Home::new().unwrap();
    let up = home.up(&[]).unwrap();
    let addresses = up.addresses();
    let has = |family: &str, transport: &str| {
        addresses
            .iter()
            .any(|address| address.starts_with(family) && address.contains(transport))
    };
    assert!(
        has("/ip4/", "/tcp/") && has("/ip4/", "/quic-v1/"),
        "{addresses:?}"
    );
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(
            has("/ip6/", "/tcp/") && has("/ip6/", "/quic-v1/"),
            "{addresses:?}"
        );
    }
    for address in &addresses {
        assert!(
            address.ends_with(&format!("/p2p/{}", up.peer_id())),
            "{address}"
        );
        assert!(
            !address.contains("/ip4/0.0.0.0/") && !address.contains("/ip6/::/"),
            "a wildcard: {address}"
        );
        let ping = home.run(&["ping", address, "-c", "1", "--json"]).unwrap();
        assert_done(&ping);
        let events = ping.events().unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].kind(), "pong");
        assert!(events[0].number("rtt_us").unwrap() > 0.0);
        let via = if address.contains("/quic-v1") {
            "quic"
        } else {
            "tcp/tls/yamux"
        };
        assert_eq!(events[0].text("via"), via, "{address}");
    }
}

#[test]
fn two_fresh_nodes_share_a_machine() {
    let (first, second) = (Home::new().unwrap(), Home::new().unwrap());
    let first = first.up(&[]).unwrap();
    let second = second.up(&[]).unwrap();
    let ports = |up: &tests::harness::Up| -> Vec<String> {
        up.addresses()
            .iter()
            .map(|address| address.split('/').nth(4).unwrap_or_default().to_owned())
            .collect()
    };
    let taken = ports(&first);
    assert!(
        ports(&second).iter().all(|port| !taken.contains(port)),
        "{:?} {:?}",
        first.ready,
        second.ready
    );

    second.process.signal(Signal::TERM).unwrap();
    let second = second.process.finish(soon()).unwrap();
    assert_done(&second);
    assert_eq!(second.stderr.len(), 1, "{second:?}");
    assert!(
        second.stderr[0].contains("port"),
        "the line does not speak of a port: {second:?}"
    );
}

#[test]
fn ping_counts_as_it_was_told() {
    let home = Home::new().unwrap();
    let up = home.up(&["--listen", TCP]).unwrap();
    let ping = home
        .run(&["ping", &up.addresses()[0], "-c", "3", "--json"])
        .unwrap();
    assert_done(&ping);
    let events = ping.events().unwrap();
    assert_eq!(
        events.iter().map(Event::kind).collect::<Vec<_>>(),
        ["pong"; 3]
    );
}

#[test]
fn identify_tells_what_the_node_says_of_itself() {
    let home = Home::new().unwrap();
    let up = home.up(&["--listen", TCP, "--listen", QUIC]).unwrap();
    let addresses = up.addresses();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for (address, via) in addresses.iter().zip(["tcp/tls/yamux", "quic"]) {
        let identify = home.run(&["identify", address, "--json"]).unwrap();
        assert_done(&identify);
        let events = identify.events().unwrap();
        assert_eq!(events.len(), 1, "{events:?}");
        let said = &events[0];
        assert_eq!(
            (said.kind(), said.text("peer_id"), said.text("via")),
            ("identified", up.peer_id(), via)
        );
        assert!(said.text("agent").starts_with("bowline/"), "{said:?}");
        for protocol in ["/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"] {
            assert!(
                said.texts("protocols").iter().any(|name| name == protocol),
                "no {protocol}: {said:?}"
            );
        }
        assert_eq!(said.texts("listen").len(), 2, "{said:?}");
        assert!(
            said.text("observed").starts_with("/ip4/127.0.0.1/"),
            "{said:?}"
        );
    }
}

#[test]
fn people_get_lines_that_are_not_json() {
    let home = Home::new().unwrap();
    let up = home.up(&["--listen", TCP]).unwrap();
    let address = &up.addresses()[0];
    for args in [
        ["ping", address, "-c", "1"].as_slice(),
        &["identify", address],
    ] {
        let said = home.run(args).unwrap();
        assert_done(&said);
        assert!(
            !said.stdout.is_empty() && said.events().is_err(),
            "{said:?}"
        );
    }
}

#[test]
fn a_node_dials_its_bootstrap_addresses_and_tells_of_both_ends() {
    let (first, second) = (Home::new().unwrap(), Home::new().unwrap());
    for (listen, via) in [(TCP, "tcp/tls/yamux"), (QUIC, "quic")] {
        let mut first = first.up(&["--listen", listen]).unwrap();
        let mut second = second
            .up(&["--listen", listen, "--bootstrap", &first.addresses()[0]])
            .unwrap();
        let (first_id, second_id) = (first.peer_id().to_owned(), second.peer_id().to_owned());
        for (up, other, direction) in [
            (&mut first, &second_id, "inbound"),
            (&mut second, &first_id, "outbound"),
        ] {
            let connected = up
                .process
                .wait_for("connected", soon(), |event| event.kind() == "connected")
                .unwrap();
            assert_eq!(connected.text("peer_id"), other);
            assert_eq!(
                (connected.text("direction"), connected.text("via")),
                (direction, via)
            );
            assert!(!connected.text("address").is_empty(), "{connected:?}");
            let said = up
                .process
                .wait_for("identified", soon(), |event| event.kind() == "identified")
                .unwrap();
            assert_eq!(said.text("peer_id"), other);
            assert!(said.text("agent").starts_with("bowline/"), "{said:?}");
        }
    }
}

#[test]
fn a_setting_comes_from_a_flag_before_the_environment_before_the_file() {
    let home = Home::new().unwrap();
    let config = home.path().join("bowline.toml");
    std::fs::write(&config, "[node]\nlisten = [\"/ip4/127.0.0.4/tcp/0\"]\n").unwrap();
    let config = config.to_str().unwrap();
    let listens_at = |flag: Option<&str>, environment: Option<&str>| {
        let mut command = home.bowline_with_data(&["up", "--json", "--config", config]);
        command.args(flag.iter().flat_map(|flag| ["--listen", flag]));
        command.envs(environment.map(|value| ("BOWLINE_NODE__LISTEN", value)));
        let up = tests::harness::Up::start(&mut command, soon()).unwrap();
        up.addresses()[0]
            .split('/')
            .nth(2)
            .unwrap_or_default()
            .to_owned()
    };
    let (flag, environment) = (
        Some("/ip4/127.0.0.2/tcp/0"),
        Some("[\"/ip4/127.0.0.3/tcp/0\"]"),
    );
    assert_eq!(listens_at(None, None), "127.0.0.4");
    assert_eq!(listens_at(None, environment), "127.0.0.3");
    assert_eq!(listens_at(flag, environment), "127.0.0.2");
}

#[test]
fn help_and_version_are_answered() {
    let home = Home::new().unwrap();
    for flag in ["--help", "--version"] {
        let said = run("bowline", &mut home.bowline(&[flag]), soon()).unwrap();
        assert_done(&said);
        assert!(
            !said.stdout.is_empty() && said.stderr.is_empty(),
            "{said:?}"
        );
        let lines = said.stdout.iter();
        let mut lines = lines.filter(|line| line.contains("BOWLINE_NODE__DATA_DIR"));
        assert_eq!(lines.next().is_some(), flag == "--help", "{said:?}");
    }
}
