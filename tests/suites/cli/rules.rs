//! Dialer rules, from a flag, the environment and the file.

use std::fs;

use tests::harness::process::run;
use tests::harness::{Finished, Home};

use super::{QUIC, TCP, assert_done, assert_refused, free_port, soon};

fn ping(home: &Home, address: &str, rules: &[&str]) -> Finished {
    let mut args = vec!["ping", "-c", "1", address];
    args.extend(rules.iter().flat_map(|rule| ["--dialer", *rule]));
    home.run(&args).unwrap()
}

/// One line that names the flag or key and the character, then the rule, then the caret.
#[track_caller]
fn assert_points_at(finished: &Finished, key: &str, rule: &str, column: usize) {
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let [line, shown, caret] = &*finished.stderr else {
        panic!("not three lines: {finished:?}");
    };
    assert!(line.contains(&format!("{key}: ")), "{line}");
    assert!(line.contains(&format!("character {column}:")), "{line}");
    assert_eq!(shown.trim_start(), rule);
    assert_eq!(caret.trim_end(), format!("  {:>column$}", '^'));
}

#[test]
fn a_rule_that_cannot_be_read_is_shown_with_a_caret_under_the_character() {
    let home = Home::new().unwrap();
    let bad = "cidr=10.0.0.0/99 direct";
    for command in ["ping", "identify"] {
        let refused = home.run(&[command, "/ip4/127.0.0.1/tcp/1", "--dialer", bad]);
        assert_points_at(&refused.unwrap(), "--dialer", bad, 6);
    }
    let up = |home: &Home| home.bowline_with_data(&["up", "--json", "--listen", TCP]);
    let by_flag = run("bowline", up(&home).args(["--dialer", bad]), soon());
    assert_points_at(&by_flag.unwrap(), "--dialer", bad, 6);
    let environment = format!("* refuse; {bad}");
    let by_environment = run(
        "bowline",
        up(&home).env("BOWLINE_DIAL__RULES", environment),
        soon(),
    );
    assert_points_at(&by_environment.unwrap(), "BOWLINE_DIAL__RULES", bad, 6);
    let file = home.path().join("bowline.toml");
    fs::write(
        &file,
        format!("[dial]\nrules = [\"* refuse\", \"{bad}\"]\n"),
    )
    .unwrap();
    let by_file = run("bowline", up(&home).arg("--config").arg(&file), soon());
    assert_points_at(&by_file.unwrap(), "dial.rules", bad, 6);
}

#[test]
fn a_password_in_a_rule_is_never_printed() {
    let home = Home::new().unwrap();
    for rule in [
        "* via socks5://user:secret@127.0.0.1:1 them",
        "* via socks5://user:secret@127.0.0.1:1",
    ] {
        let refused = ping(&home, "/ip4/127.0.0.1/tcp/1", &[rule]);
        assert_ne!(refused.code, Some(0));
        assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
    }
}

#[test]
fn the_first_rule_that_is_for_an_address_decides_and_what_none_is_for_is_refused() {
    let home = Home::new().unwrap();
    let up = home.up(&["--listen", TCP, "--listen", QUIC]).unwrap();
    for address in &up.addresses() {
        let direct = ping(&home, address, &["cidr=127.0.0.0/8 direct", "* refuse"]);
        assert_done(&direct);
        assert_refused(
            &ping(&home, address, &["* refuse", "* direct"]),
            1,
            &[address],
        );
        assert_refused(
            &ping(&home, address, &["cidr=10.0.0.0/8 direct"]),
            1,
            &[address],
        );
        assert_done(&ping(
            &home,
            address,
            &[&format!("peer={} direct", up.peer_id())],
        ));
    }
    let by_tcp = up
        .addresses()
        .into_iter()
        .find(|a| a.contains("/tcp/"))
        .unwrap();
    let refused = ping(&home, &by_tcp, &["kind=dns direct", "* refuse"]);
    assert_refused(&refused, 1, &["refused by the rule `* refuse`"]);
}

#[test]
fn a_rule_with_else_dials_directly_while_its_proxy_is_down() {
    let home = Home::new().unwrap();
    let up = home.up(&["--listen", TCP]).unwrap();
    let address = &up.addresses()[0];
    let proxy = format!("* via socks5://127.0.0.1:{}", free_port());
    assert_refused(&ping(&home, address, &[&proxy]), 1, &[address]);
    assert_done(&ping(&home, address, &[&format!("{proxy} else direct")]));
}

#[test]
fn rules_of_a_flag_win_over_the_environment_and_those_over_the_file() {
    let listening = Home::new().unwrap();
    let listening = listening.up(&["--listen", TCP]).unwrap();
    let address = &listening.addresses()[0];
    let first_event = |file: &str, environment: Option<&str>, flag: Option<&str>| {
        let home = Home::new().unwrap();
        let path = home.path().join("bowline.toml");
        fs::write(&path, format!("[dial]\nrules = [\"{file}\"]\n")).unwrap();
        let mut command = home.bowline_with_data(&["up", "--json", "--listen", TCP]);
        command
            .args(["--bootstrap", address])
            .arg("--config")
            .arg(&path);
        command.envs(environment.map(|rules| ("BOWLINE_DIAL__RULES", rules)));
        command.args(flag.iter().flat_map(|rule| ["--dialer", *rule]));
        let mut up = tests::harness::Process::spawn("bowline", &mut command).unwrap();
        let decisive =
            |event: &tests::harness::Event| ["connected", "dial_failed"].contains(&event.kind());
        let event = up.wait_for("the dial's outcome", soon(), decisive).unwrap();
        event.kind().to_owned()
    };
    assert_eq!(first_event("* refuse", None, None), "dial_failed");
    assert_eq!(first_event("* direct", None, None), "connected");
    assert_eq!(first_event("* refuse", Some("* direct"), None), "connected");
    assert_eq!(
        first_event("* direct", Some("kind=dns refuse; * refuse"), None),
        "dial_failed"
    );
    assert_eq!(
        first_event("* refuse", Some("* refuse"), Some("* direct")),
        "connected"
    );
}
