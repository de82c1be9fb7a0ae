//! Every error of the commands: what was given, what is wrong, and what to write instead.

use tests::harness::Home;

use super::table::{check, rows, words};

#[test]
fn every_wrong_input_is_answered_with_one_line_and_the_right_exit_code() {
    check(rows(include_str!("errors.txt")), |row| {
        let home = Home::new().unwrap();
        let words = words(row.input);
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        let finished = home.run(&args).unwrap();
        let (line, rest) = finished.stderr.split_first().unwrap();
        // A rule is shown below its error.
        assert!(rest.is_empty() || line.contains("rule '"), "{finished:?}");
        let line = line.replace(home.path().to_str().unwrap(), "$HOME");
        format!("{} {line}", finished.code.unwrap())
    });
}
