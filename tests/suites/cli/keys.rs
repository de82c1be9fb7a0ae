//! The identity: kept, private, never overwritten.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tests::harness::Home;
use tests::harness::process::{Signal, run};

use super::{TCP, assert_done, assert_refused, home_with_key, soon};

#[test]
fn the_identity_survives_a_restart_in_a_file_that_only_its_owner_reads() {
    let home = Home::new().unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let up = home.up(&["--listen", TCP]).unwrap();
        seen.push(up.peer_id().to_owned());
        up.process.signal(Signal::TERM).unwrap();
        assert_done(&up.process.finish(soon()).unwrap());
    }
    assert_eq!(seen[0], seen[1]);

    let show = run(
        "bowline",
        &mut home.bowline_with_data(&["key", "show", "--json"]),
        soon(),
    )
    .unwrap();
    assert_done(&show);
    assert_eq!(show.events().unwrap()[0].text("peer_id"), seen[0]);
}

#[test]
fn a_new_key_is_private_and_is_the_one_the_node_uses() {
    let (home, file) = home_with_key();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let show = run(
        "bowline",
        &mut home.bowline_with_data(&["key", "show", "--json"]),
        soon(),
    )
    .unwrap();
    assert_done(&show);
    let up = home.up(&["--listen", TCP]).unwrap();
    assert_eq!(show.events().unwrap()[0].text("peer_id"), up.peer_id());
}

#[test]
fn the_key_that_a_first_start_makes_is_private() {
    let home = Home::new().unwrap();
    let _up = home.up(&["--listen", TCP]).unwrap();
    let (other, named) = home_with_key();
    let file = home
        .data_dir()
        .join(named.strip_prefix(other.data_dir()).unwrap());
    assert_eq!(
        fs::metadata(file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn key_new_refuses_to_overwrite() {
    let (home, file) = home_with_key();
    let before = fs::read(&file).unwrap();
    let again = run(
        "bowline",
        &mut home.bowline_with_data(&["key", "new"]),
        soon(),
    )
    .unwrap();
    assert_refused(&again, 1, &[file.to_str().unwrap()]);
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn key_show_names_the_file_that_is_not_there() {
    let home = Home::new().unwrap();
    let show = run(
        "bowline",
        &mut home.bowline_with_data(&["key", "show"]),
        soon(),
    )
    .unwrap();
    assert_refused(&show, 2, &[home.data_dir().to_str().unwrap()]);
    assert!(
        !home.data_dir().exists(),
        "showing a key made {:?}",
        home.data_dir()
    );
}

/// To work with a bad identity is a wrong configuration; to make one where something is already is a job that failed.
fn exit_code(job: &[&str]) -> i32 {
    if job == ["key", "new"] { 1 } else { 2 }
}

#[test]
fn a_key_file_that_is_no_key_is_named_and_left_as_it_is() {
    let (home, file) = home_with_key();
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[0] ^= 0xff;
    let mut mismatched = whole.clone();
    *mismatched.last_mut().unwrap() ^= 0x01;
    for bad in [
        &whole[..whole.len() / 2],
        &[],
        &flipped,
        &mismatched,
        &[0xff; 4096],
    ] {
        fs::write(&file, bad).unwrap();
        for job in [
            ["up", "--listen", TCP].as_slice(),
            &["key", "show"],
            &["key", "new"],
        ] {
            let refused = run("bowline", &mut home.bowline_with_data(job), soon()).unwrap();
            assert_refused(&refused, exit_code(job), &[file.to_str().unwrap()]);
            assert_eq!(fs::read(&file).unwrap(), bad, "{job:?} touched the file");
        }
    }
}

#[test]
fn a_key_file_that_cannot_be_read_is_named_and_left_as_it_is() {
    let (home, file) = home_with_key();
    fs::remove_file(&file).unwrap();
    // A folder in its place cannot be read as a file by anyone, root included.
    fs::create_dir(&file).unwrap();
    for job in [
        ["up", "--listen", TCP].as_slice(),
        &["key", "show"],
        &["key", "new"],
    ] {
        let refused = run("bowline", &mut home.bowline_with_data(job), soon()).unwrap();
        assert_refused(&refused, exit_code(job), &[file.to_str().unwrap()]);
        assert!(file.is_dir(), "{job:?} touched it");
    }
}
