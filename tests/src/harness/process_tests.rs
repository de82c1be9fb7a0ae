use std::path::Path;

use super::*;

fn shell(script: &str) -> Process {
    Process::spawn("script", Command::new("sh").args(["-c", script])).unwrap()
}

fn soon() -> Deadline {
    Deadline::within(Duration::from_secs(10))
}

#[test]
fn the_line_that_fits_is_found_after_others() {
    let mut process = shell(r#"echo '{"event":"a"}'; echo '{"event":"b","n":7}'; read _"#);
    let event = process
        .wait_for("b", soon(), |event| event.kind() == "b")
        .unwrap();
    assert_eq!(event.number("n").unwrap(), 7.0);
}

#[test]
fn waiting_ends_at_the_deadline_and_tells_what_was_seen() {
    let mut process = shell(r#"echo '{"event":"a"}'; read _"#);
    process
        .wait_for("a", soon(), |event| event.kind() == "a")
        .unwrap();
    let error = process
        .wait_for("b", Deadline::within(Duration::from_millis(50)), |_| false)
        .unwrap_err();
    assert_eq!(error.to_string(), "waited for b of script, saw\n  nothing");
}

#[test]
fn waiting_ends_with_the_output() {
    let mut process = shell(r#"echo '{"event":"a"}'"#);
    let error = process
        .wait_for("b", soon(), |event| event.kind() == "b")
        .unwrap_err();
    assert!(
        format!("{error:#}").ends_with("script ended its output"),
        "{error:#}"
    );
}

#[test]
fn dropping_kills_and_reaps() {
    let process = shell("exec sleep 60");
    let place = format!("/proc/{}", process.id());
    assert!(Path::new(&place).exists());
    drop(process);
    assert!(!Path::new(&place).exists(), "{place} is still there");
}

#[test]
fn finishing_gives_the_exit_code_and_both_outputs() {
    let finished = shell(r#"echo '{"event":"a"}'; echo trouble >&2; exit 3"#)
        .finish(soon())
        .unwrap();
    assert_eq!(finished.code, Some(3));
    assert_eq!(finished.events().unwrap()[0].kind(), "a");
    assert_eq!(finished.stderr, ["trouble"]);
}

#[test]
fn finishing_kills_at_the_deadline() {
    let error = shell("echo trouble >&2; exec sleep 60")
        .finish(Deadline::within(Duration::from_millis(200)))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("script was still running at its deadline"),
        "{error}"
    );
    assert!(error.to_string().ends_with("trouble"), "{error}");
}

#[test]
fn a_process_has_ended_once_it_is_told_to() {
    let mut process = shell("read _; exit 0");
    assert!(!process.has_ended().unwrap());
    process.close_stdin();
    let deadline = soon();
    while !process.has_ended().unwrap() {
        assert!(!deadline.left().is_zero(), "it still runs");
        std::thread::yield_now();
    }
}

#[test]
fn a_signal_reaches_the_process() {
    let mut process =
        shell(r#"trap 'exit 5' TERM; echo '{"event":"ready"}'; while :; do sleep 0.01; done"#);
    process
        .wait_for("ready", soon(), |event| event.kind() == "ready")
        .unwrap();
    process.signal(Signal::TERM).unwrap();
    assert_eq!(process.finish(soon()).unwrap().code, Some(5));
}

#[test]
fn only_the_last_lines_of_stderr_are_kept() {
    let finished = shell("for n in $(seq 1 100); do echo $n >&2; done")
        .finish(soon())
        .unwrap();
    assert_eq!(finished.stderr.len(), STDERR_LINES);
    assert_eq!(finished.stderr.last().map(String::as_str), Some("100"));
}
