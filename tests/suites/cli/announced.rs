//! The addresses that a node announces, as its settings choose them.

use std::fs;

use tests::harness::process::run;
use tests::harness::{Home, Up};

use super::{NOBODY, TCP, assert_refused, soon};

const PUBLIC: &str = "/ip4/192.0.2.7/tcp/4077";

#[test]
fn announced_addresses_come_from_the_file_and_the_environment_and_the_environment_wins() {
    let home = Home::new().unwrap();
    let file = home.path().join("bowline.toml");
    let toml = format!("[node]\nannounce = [\"{PUBLIC}\"]\nannounce_detected = true\n");
    fs::write(&file, toml).unwrap();
    let arguments = ["up", "--json", "--listen", TCP];
    let start = |detected: Option<&str>| {
        let mut command = home.bowline_with_data(&arguments);
        command.arg("--config").arg(&file);
        if let Some(detected) = detected {
            command.env("BOWLINE_NODE__ANNOUNCE_DETECTED", detected);
        }
        Up::start(&mut command, soon()).unwrap()
    };
    let up = start(None);
    let addresses = up.addresses();
    assert_eq!(addresses[0], format!("{PUBLIC}/p2p/{}", up.peer_id()));
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    assert!(addresses[1].starts_with("/ip4/127.0.0.1/tcp/"));
    drop(up);
    let up = start(Some("false"));
    assert_eq!(up.addresses(), [format!("{PUBLIC}/p2p/{}", up.peer_id())]);
}

#[test]
fn an_address_in_a_network_of_no_announce_is_not_announced_and_the_node_is_ready() {
    let home = Home::new().unwrap();
    let mut command = home.bowline_with_data(&["up", "--json", "--listen", TCP]);
    command.args(["--listen", "/ip4/127.0.0.2/tcp/0"]);
    command.env("BOWLINE_NODE__NO_ANNOUNCE", "10.0.0.0/8, /ip4/127.0.0.2");
    let up = Up::start(&mut command, soon()).unwrap();
    let addresses = up.addresses();
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    assert!(addresses[0].starts_with("/ip4/127.0.0.1/"), "{addresses:?}");
}

#[test]
fn a_wrong_setting_of_announced_addresses_is_named_with_exit_code_2() {
    let home = Home::new().unwrap();
    let named = format!("{PUBLIC}/p2p/{NOBODY}");
    for (key, value, parts) in [
        (
            "ANNOUNCE",
            "/ip4/192.0.2.7",
            ["BOWLINE_NODE__ANNOUNCE", "/ip4/192.0.2.7"],
        ),
        (
            "ANNOUNCE",
            "/ip4/0.0.0.0/tcp/4077",
            ["BOWLINE_NODE__ANNOUNCE", "wildcard"],
        ),
        (
            "ANNOUNCE",
            &named,
            ["BOWLINE_NODE__ANNOUNCE", "must not contain /p2p/ID"],
        ),
        (
            "NO_ANNOUNCE",
            "10.0.0.0/33",
            ["BOWLINE_NODE__NO_ANNOUNCE", "'10.0.0.0/33'"],
        ),
        (
            "NO_ANNOUNCE",
            "192.0.2",
            ["BOWLINE_NODE__NO_ANNOUNCE", "such as 10.0.0.0/8"],
        ),
    ] {
        let mut command = home.bowline_with_data(&["up", "--json", "--listen", TCP]);
        command.env(format!("BOWLINE_NODE__{key}"), value);
        let refused = run("bowline", &mut command, soon()).unwrap();
        assert_refused(&refused, 2, &parts);
    }
    let mut command = home.bowline_with_data(&["up", "--json", "--listen", TCP]);
    command.env("BOWLINE_NODE__ANNOUNCE", PUBLIC);
    command.env("BOWLINE_NODE__NO_ANNOUNCE", "192.0.2.0/24");
    let refused = run("bowline", &mut command, soon()).unwrap();
    assert_refused(&refused, 2, &["BOWLINE_NODE__ANNOUNCE", PUBLIC, "never"]);
}

#[test]
fn a_change_of_the_addresses_is_a_line_with_all_of_them_and_the_difference() {
    let relay = Home::new().unwrap();
    let relay = relay.up(&["--relay-server", "--listen", TCP]).unwrap();
    let home = Home::new().unwrap();
    let at = relay.address_with("/tcp/").unwrap();
    let mut up = home.up(&["--listen", TCP, "--reserve-at", &at]).unwrap();
    let is_change = |event: &tests::harness::Event| event.kind() == "addresses";
    let circuit = format!("{at}/p2p-circuit/p2p/{}", up.peer_id());
    let own = up.address_with("/tcp/").unwrap();
    // The relay may grant its slot before the ready line.
    if up.addresses().len() == 1 {
        let added = up.process.wait_for("a change", soon(), is_change).unwrap();
        assert_eq!(added.texts("added"), std::slice::from_ref(&circuit));
        assert_eq!(added.texts("removed"), [""; 0]);
        assert_eq!(added.texts("addresses"), [own.clone(), circuit.clone()]);
    }
    drop(relay);
    let removed = up.process.wait_for("a change", soon(), is_change).unwrap();
    assert_eq!(removed.texts("removed"), [circuit]);
    assert_eq!(removed.texts("added"), [""; 0]);
    assert_eq!(removed.texts("addresses"), [own]);
}
