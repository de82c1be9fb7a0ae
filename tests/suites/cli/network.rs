//! A network with only a loopback interface, and a DNS configuration that changes. Each test runs again in namespaces of its
//! own, in which it is root. A machine that makes no namespaces skips these tests.

use std::{
    env, fs,
    net::UdpSocket,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tests::harness::{Home, bowline::binary};

use super::{TCP, assert_done, soon};

/// Set in the process that runs in the namespaces.
const MARK: &str = "TEST_IN_NAMESPACES";

const DEAD: &str = "127.0.0.53";
const WORKING: &str = "127.0.0.54";

/// Whether this process is in namespaces of its own. If not, runs the test there and checks that it passes.
fn is_inside(test: &str) -> bool {
    if env::var_os(MARK).is_some() {
        system("ip", &["link", "set", "lo", "up"]);
        return true;
    }
    let unshare = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--net"]);
        command.args(args);
        command
    };
    let mut possible = unshare(&["ip", "link"]);
    let possible = possible
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine makes no namespaces");
        return false;
    }
    let this = env::current_exe().unwrap();
    let args = [this.to_str().unwrap(), "--exact", test, "--nocapture"];
    let mut command = unshare(&args);
    let output = command
        .env(MARK, "1")
        .env("BOWLINE_BIN", binary())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    println!("{text}");
    false
}

fn system(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}

#[test]
fn a_link_local_address_is_listened_on_and_dialed_with_its_zone() {
    if !is_inside("network::a_link_local_address_is_listened_on_and_dialed_with_its_zone") {
        return;
    }
    system(
        "ip",
        &["-6", "address", "add", "fe80::7/64", "dev", "lo", "nodad"],
    );
    let home = Home::new().unwrap();
    let listen = [
        "/ip6zone/lo/ip6/fe80::7/tcp/0",
        "/ip6zone/1/ip6/fe80::7/udp/0/quic-v1",
    ];
    let up = home
        .up(&["--listen", listen[0], "--listen", listen[1]])
        .unwrap();
    assert_eq!(up.addresses().len(), 2);
    for address in up.addresses() {
        assert!(address.starts_with("/ip6zone/lo/ip6/fe80::7/"), "{address}");
        assert_done(&home.run(&["ping", "-c", "1", &address]).unwrap());
        let by_index = address.replace("/ip6zone/lo/", "/ip6zone/1/");
        let identified = home.run(&["identify", "--json", &by_index]).unwrap();
        assert_done(&identified);
        let info = &identified.events().unwrap()[0];
        assert!(
            info.texts("listen").is_empty(),
            "a zone was announced: {info:?}"
        );
        assert!(
            info.text("observed").starts_with("/ip6/fe80::7/"),
            "{info:?}"
        );
    }
}

#[test]
fn an_unreachable_network_is_reported_at_once_over_tcp_and_quic() {
    if !is_inside("network::an_unreachable_network_is_reported_at_once_over_tcp_and_quic") {
        return;
    }
    system("ip", &["route", "add", "unreachable", "198.51.100.0/24"]);
    let home = Home::new().unwrap();
    for host in ["/ip4/192.0.2.1", "/ip4/198.51.100.1", "/ip6/2001:db8::1"] {
        for rest in ["/tcp/1", "/udp/1/quic-v1"] {
            let begun = Instant::now();
            let address = format!("{host}{rest}");
            let refused = home.run(&["ping", &address]).unwrap();
            super::assert_refused(&refused, 1, &[&address]);
            let text = &refused.stderr[0];
            assert!(
                text.contains("Network is unreachable") || text.contains("No route to host"),
                "{text}"
            );
            assert!(
                begun.elapsed() < Duration::from_secs(3),
                "{:?}",
                begun.elapsed()
            );
        }
    }
}

#[test]
fn a_reservation_follows_a_change_of_the_dns_configuration_within_five_seconds() {
    if !is_inside(
        "network::a_reservation_follows_a_change_of_the_dns_configuration_within_five_seconds",
    ) {
        return;
    }
    let home = Home::new().unwrap();
    let configuration = home.path().join("resolv.conf");
    let configure =
        |server: &str| fs::write(&configuration, format!("nameserver {server}\n")).unwrap();
    configure(DEAD);
    system(
        "mount",
        &[
            "--bind",
            configuration.to_str().unwrap(),
            "/etc/resolv.conf",
        ],
    );
    // This server never answers.
    let dead = UdpSocket::bind((DEAD, 53)).unwrap();
    dead.set_read_timeout(Some(soon().left())).unwrap();
    let relay = home
        .up(&["--relay-server", "--listen", TCP, "--listen", super::QUIC])
        .unwrap();
    let answers = relay.addresses();
    let working = UdpSocket::bind((WORKING, 53)).unwrap();
    thread::spawn(move || serve(&working, &answers));
    for kind in ["tcp", "quic", "dnsaddr", "tcp after failures"] {
        configure(DEAD);
        let at = match kind {
            "tcp" | "tcp after failures" => relay
                .address_with("/tcp/")
                .unwrap()
                .replace("/ip4/127.0.0.1", "/dns4/relay.example"),
            "quic" => relay
                .address_with("/udp/")
                .unwrap()
                .replace("/ip4/127.0.0.1", "/dns4/relay.example"),
            _ => format!("/dnsaddr/relay.example/p2p/{}", relay.peer_id()),
        };
        drain(&dead);
        let client = Home::new().unwrap();
        let args = ["--listen", TCP, "--reserve-at", &at];
        let mut up = client.up(&args).unwrap();
        // The look-up is under way, and its server is silent.
        dead.recv_from(&mut [0; 1500]).unwrap();
        if kind == "tcp after failures" {
            // The relay client rests before it asks again.
            let failed = up.process.wait_for("the failure", soon(), |event| {
                event.kind() == "reservation_failed"
            });
            failed.unwrap();
        }
        configure(WORKING);
        let changed = Instant::now();
        let reserved = up.process.wait_for("the reservation", soon(), |event| {
            event.kind() == "reservation_granted"
        });
        reserved.unwrap_or_else(|error| panic!("{kind}: {error:#}"));
        let took = changed.elapsed();
        println!("{kind}: reserved {} ms after the change", took.as_millis());
        assert!(took < Duration::from_secs(5), "{kind}: {took:?}");
    }
}

/// Takes the questions that have arrived. The client that asked them has ended.
fn drain(server: &UdpSocket) {
    server.set_nonblocking(true).unwrap();
    while server.recv_from(&mut [0; 1500]).is_ok() {}
    server.set_nonblocking(false).unwrap();
}

/// Answers questions for A records with 127.0.0.1, and questions for TXT records with the addresses.
fn serve(socket: &UdpSocket, addresses: &[String]) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        // The question begins after the header of 12 bytes. Its name ends with an empty label.
        let Some(end) = buffer[12..length].iter().position(|byte| *byte == 0) else {
            continue;
        };
        let question = &buffer[12..12 + end + 5];
        let kind = question[end + 2];
        let answers: Vec<Vec<u8>> = match kind {
            1 => vec![vec![127, 0, 0, 1]],
            16 => addresses
                .iter()
                .map(|address| text(&format!("dnsaddr={address}")))
                .collect(),
            _ => Vec::new(),
        };
        let count = u8::try_from(answers.len()).unwrap();
        let mut answer = vec![buffer[0], buffer[1], 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
        answer.extend_from_slice(question);
        for data in answers {
            // The name of the question, the kind, the class IN, and a minute.
            answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60]);
            answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            answer.extend(data);
        }
        let _ = socket.send_to(&answer, from);
    }
}

/// The data of a TXT record with one text.
fn text(text: &str) -> Vec<u8> {
    let mut data = vec![u8::try_from(text.len()).unwrap()];
    data.extend(text.as_bytes());
    data
}
