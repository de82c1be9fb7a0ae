use std::path::PathBuf;

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

/// The outcome of the flags, the variables and the file.
fn resolved(flags: &[&str], variables: &[(&str, &str)], file: &str) -> Result<Resolved, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bowline.toml");
    std::fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let command = ["bowline", "up", "--config", &path, "--data-dir", "given"];
    let args = command.iter().chain(flags).copied();
    let Command::Up(args) = Cli::try_parse_from(args).unwrap().command else {
        panic!("not up");
    };
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    combine(args, Environment::of(variables).unwrap())
}

#[track_caller]
fn fine(outcome: Result<Resolved, Failure>) -> Resolved {
    outcome.unwrap_or_else(|failure| panic!("{failure:?}"))
}

#[track_caller]
fn by_variable(name: &str, value: &str) -> Resolved {
    fine(resolved(&[], &[(name, value)], ""))
}

#[track_caller]
fn by_file(file: &str) -> Resolved {
    fine(resolved(&[], &[], file))
}

#[test]
fn a_number_has_the_same_value_in_every_form() {
    for value in ["7", "7.0", "\"7\"", "\" 7 \""] {
        let config = by_file(&format!("[ping]\ninterval_s = {value}\n")).config;
        assert_eq!(config.ping.interval, Duration::from_secs(7), "{value}");
    }
    for value in ["7", "7.0", " 7 ", "7e0"] {
        let config = by_variable("BOWLINE_PING__INTERVAL_S", value).config;
        assert_eq!(config.ping.interval, Duration::from_secs(7), "{value}");
    }
    let default = Config::default().ping.interval;
    for empty in ["", " "] {
        let config = by_variable("BOWLINE_PING__INTERVAL_S", empty).config;
        assert_eq!(config.ping.interval, default);
    }
    let config = by_file("[ping]\ninterval_s = \"\"\n").config;
    assert_eq!(config.ping.interval, default);
}

#[test]
fn a_list_has_the_same_items_in_every_form() {
    let (one, two) = ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2");
    let texts = |resolved: Resolved| {
        let listen = resolved.listen.iter().map(ToString::to_string);
        listen.collect::<Vec<_>>()
    };
    for value in [
        format!("{one},{two}"),
        format!(" {one} , {two}, "),
        format!("[\"{one}\", \"{two}\"]"),
        format!("['{one}',{two}]"),
    ] {
        let listen = texts(by_variable("BOWLINE_NODE__LISTEN", &value));
        assert_eq!(listen, [one, two], "{value}");
    }
    for value in [
        format!("[\"{one}\", \"{two}\"]"),
        format!("\"{one}, {two}\""),
        format!("[\"\", \"{one}\", \"{two}\"]"),
    ] {
        let listen = texts(by_file(&format!("[node]\nlisten = {value}\n")));
        assert_eq!(listen, [one, two], "{value}");
    }
    for empty in ["\"\"", "[]", "[\"\"]"] {
        let file = format!("[node]\nlisten = {empty}\n");
        assert!(by_file(&file).listen.is_empty());
    }
    let flags = ["--listen", one, "--listen", two];
    let variables = [("BOWLINE_NODE__LISTEN", "nonsense")];
    let all = resolved(&flags, &variables, "[node]\nlisten = 7\n");
    assert_eq!(texts(fine(all)), [one, two]);
}

#[test]
fn a_text_may_look_like_a_number_and_yes_and_no_have_several_words() {
    for value in ["007", "true", "[x]", "1.0"] {
        let config = by_variable("BOWLINE_NODE__AGENT", value).config;
        assert_eq!(config.agent, value);
    }
    assert_eq!(by_file("[node]\nagent = 7\n").config.agent, "7");
    for (word, expected) in [
        ("true", true),
        ("Yes", true),
        ("1", true),
        ("off", false),
        ("0", false),
    ] {
        let config = by_variable("BOWLINE_LIMITS__EXEMPT_PRIVATE", word).config;
        assert_eq!(config.limits.exempt_private, expected, "{word}");
    }
}

#[test]
fn a_dial_has_at_least_the_time_of_one_address_unless_its_own_setting_says_otherwise() {
    for (settings, expected) in [
        ("timeout_s = 20", 60),
        ("timeout_s = 90", 90),
        ("timeout_private_s = 70", 70),
        ("timeout_s = 90\ntotal_timeout_s = 30", 30),
    ] {
        let config = by_file(&format!("[dial]\n{settings}\n")).config;
        let total = Duration::from_secs(expected);
        assert_eq!(config.whole_dial_timeout(), total, "{settings}");
    }
}

#[test]
fn a_tilde_is_the_home_directory_of_this_user() {
    let home = directories::BaseDirs::new().unwrap().home_dir().to_owned();
    for (text, expected) in [
        ("~", Some(home.clone())),
        ("~/a b", Some(home.join("a b"))),
        ("/x/~", Some(PathBuf::from("/x/~"))),
        ("x", Some(PathBuf::from("x"))),
        ("~root/x", None),
    ] {
        assert_eq!(paths::expand(text).ok(), expected, "{text}");
        assert_eq!(paths::flag(text).ok(), expected, "{text}");
    }
}

#[test]
fn the_hints_contain_exactly_the_settings_that_exist() {
    for (section, keys) in hints::SETTINGS {
        for key in *keys {
            let file = format!("[{section}]\n{key} = {{ }}\n");
            let text = format!("{:?}", resolved(&[], &[], &file).err());
            assert!(!text.contains("no such setting"), "{section}.{key}: {text}");
        }
        let file = format!("[{section}]\nfrobnicate = 1\n");
        let text = format!("{:?}", resolved(&[], &[], &file).err());
        let all = format!("the settings of [{section}] are {}", keys.join(", "));
        assert!(text.contains(&format!("{all}\"")), "{text}");
    }
}

#[test]
fn a_time_that_is_negative_or_infinite_is_refused_with_its_value() {
    for value in ["-1", "-0.5", "inf", "nan"] {
        let file = format!("[ping]\ninterval_s = {value}\n");
        let variable = [("BOWLINE_PING__INTERVAL_S", value)];
        for outcome in [resolved(&[], &[], &file), resolved(&[], &variable, "")] {
            let text = format!("{:?}", outcome.err());
            assert!(
                text.contains("is not a number (0 or more"),
                "{value}: {text}"
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_may_be_a_pipe_and_has_at_most_a_mebibyte() {
    use std::{io::Write, os::fd::AsRawFd};
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(b"[ping]\ninterval_s = 7\n").unwrap();
    drop(write);
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    let flags = ["bowline", "up", "--config", &path, "--data-dir", "given"];
    let Command::Up(args) = Cli::try_parse_from(flags).unwrap().command else {
        panic!("not up");
    };
    let none = Environment::of(std::iter::empty()).unwrap();
    let config = fine(combine(args, none)).config;
    assert_eq!(config.ping.interval, Duration::from_secs(7));
    let comment = |length: usize| format!("{}\n", "#".repeat(length - 1));
    by_file(&comment(1 << 20));
    let refused = resolved(&[], &[], &comment((1 << 20) + 1)).err().unwrap();
    let refused = format!("{refused:?}");
    assert!(refused.contains("longer than 1 MiB"), "{refused}");
}

#[test]
fn a_variable_that_nests_without_end_is_refused() {
    let slots = "[".repeat(100_000);
    let nested = resolved(&[], &[("BOWLINE_RELAY__TERMS__SLOTS", &slots)], "");
    assert!(nested.is_err());
    let name = format!("BOWLINE_{}", "A__".repeat(100_000));
    let long = Environment::of([(name.into(), "x".into())].into_iter()).err();
    let expected = "BOWLINE_A__A__A__… is not a setting: a name has at most 3 parts";
    assert_eq!(long.as_deref(), Some(expected));
}

#[test]
fn a_variable_without_its_section_is_refused_and_a_foreign_variable_is_not() {
    let of = |name: &str| Environment::of([(name.into(), "x".into())].into_iter()).err();
    let meant = Some("BOWLINE_LISTEN is not a setting: write BOWLINE_NODE__LISTEN".to_owned());
    assert_eq!(of("BOWLINE_LISTEN"), meant);
    assert_eq!(of("BOWLINE_BIN"), None);
    assert_eq!(of("LISTEN"), None);
}

#[test]
fn up_and_the_other_commands_find_the_same_data_directory_in_the_environment() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let by_up = |variables: &[(OsString, OsString)]| -> Result<Option<PathBuf>, String> {
        let environment = Environment::of(variables.iter().cloned())?;
        let Command::Up(args) = Cli::try_parse_from(["bowline", "up"]).unwrap().command else {
            panic!("not up");
        };
        let resolved = combine(args, environment);
        let found = resolved.map(|resolved| resolved.data_dir);
        let default = directories::ProjectDirs::from("", "", "bowline").unwrap();
        let found = found.map_err(|failure| failure.to_string())?;
        Ok(Some(found).filter(|found| found != default.data_dir()))
    };
    let home = directories::BaseDirs::new().unwrap().home_dir().to_owned();
    let name = "BOWLINE_NODE__DATA_DIR";
    let not_text = OsString::from_vec(b"/data/\xff".to_vec());
    for (variables, expected) in [
        (vec![(name, "/a b".into())], Ok(Some("/a b".into()))),
        (vec![(name, "  /a b \n".into())], Ok(Some("/a b".into()))),
        (vec![(name, "~/data ".into())], Ok(Some(home.join("data")))),
        (vec![(name, "7".into())], Ok(Some("7".into()))),
        (vec![(name, " ".into())], Ok(None)),
        (
            vec![("BOWLINE_node__data_dir", "x".into())],
            Ok(Some("x".into())),
        ),
        (
            vec![(name, "x".into()), ("BOWLINE_Node__Data_Dir", "y".into())],
            Ok(Some("y".into())),
        ),
        (vec![], Ok(None)),
        (vec![(name, "~root/x".into())], Err("'root'")),
        (vec![(name, not_text)], Err("not UTF-8")),
    ] {
        let variables: Vec<(OsString, OsString)> = variables
            .into_iter()
            .map(|(name, value): (&str, OsString)| (name.into(), value))
            .collect();
        let by_others = environment::data_dir(variables.iter().cloned());
        assert_eq!(by_up(&variables), by_others, "{variables:?}");
        match (by_others, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{variables:?}"),
            (Err(error), Err(named)) => {
                assert!(error.starts_with(name) && error.contains(named), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_setting_about_joining_sets_its_own_figure() {
    let second = Duration::from_secs;
    let config = by_file(
        "[bootstrap]\nattempt_s = 1\nlasted_s = 2\nsettled_s = 3\nbase_s = 4\nlost_cap_s = 5\n\
         lost_window_s = 6\nisolated_cap_s = 7\ncap_s = 8\nmax_lost = 9\nmax_dials = 10\n\
         wanted = 11\ntarget = 12\n",
    );
    let default = node::bootstrap::RejoinConfig::default();
    let per_peer = default.max_per_peer;
    let expected = default
        .with_dials(second(1), 10, per_peer)
        .with_stays(second(3), second(2))
        .with_base(second(4))
        .with_lost(second(5), second(6), 9)
        .with_caps(second(7), second(8))
        .with_wanted(11)
        .with_target(12);
    assert_eq!(config.config.bootstrap.rejoin, expected);
    let through_proxy = config.config.bootstrap.attempt_through_proxy;
    assert_eq!(through_proxy, Some(second(1)));
}

#[test]
fn up_searches_the_lan_saves_peers_and_redials_them_unless_a_setting_says_otherwise() {
    let config = by_file("").config.bootstrap;
    assert!(config.mdns);
    assert_eq!(config.saved, Some(PathBuf::from("given").join("peers")));
    assert_eq!(config.redial, Some(true));
    assert_eq!(config.rejoin, node::bootstrap::RejoinConfig::default());
    let config = by_file("[bootstrap]\nmdns = false\nsaved = false\nwanted = 20\n");
    let config = config.config.bootstrap;
    assert!(!config.mdns && config.saved.is_none());
    assert_eq!((config.rejoin.wanted, config.rejoin.target), (20, 20));
    assert!(
        !fine(resolved(&["--no-mdns"], &[], ""))
            .config
            .bootstrap
            .mdns
    );
}

#[test]
fn the_node_takes_part_in_a_dht_only_with_a_mode_and_the_other_settings_of_the_dht_are_read_anyway()
{
    use node::bootstrap::kad::{Mode, Preset};

    let file =
        "[kademlia]\npreset = \"private\"\nprotocols = [\"/a/1\", \"/b/1\"]\nreplication = 40\n";
    for (mode, expected) in [
        ("", None),
        ("mode = \"off\"\n", None),
        ("mode = \"Auto\"\n", Some(Mode::Auto)),
        ("mode = \"client\"\n", Some(Mode::Client)),
        ("mode = \"server\"\n", Some(Mode::Server)),
    ] {
        let resolved = by_file(&format!("{file}{mode}"));
        let mode = resolved.config.kademlia.map(|dht| dht.figures.mode);
        assert_eq!(mode, expected);
        let dht = resolved.dht;
        assert_eq!(dht.protocols, ["/a/1", "/b/1"]);
        assert_eq!(dht.figures.preset, Preset::Private);
        assert_eq!(dht.figures.replication, 40);
    }
    let config = by_variable("BOWLINE_KADEMLIA__MODE", "client").config;
    let dht = config.kademlia.unwrap();
    assert_eq!(dht.protocols, ["/ipfs/kad/1.0.0"]);
    assert_eq!(dht.figures.preset, Preset::Amino);
}
