//! Every setting in every form: a variable or a file, with a value of each type.

use std::fs;

use tests::harness::{Home, Process, process::run};

use super::{
    soon,
    table::{check, rows},
};

#[test]
fn every_form_of_a_setting_is_accepted_or_answered_with_the_place_and_the_problem() {
    check(rows(include_str!("settings.txt")), |row| {
        let home = Home::new().unwrap();
        let mut command = home.bowline(&["up", "--json"]);
        match row
            .input
            .strip_prefix("file ")
            .or(row.input.strip_prefix("file"))
        {
            Some(file) => {
                let text = file.replace(" | ", "\n") + "\n";
                fs::write(home.path().join("c.toml"), text).unwrap();
                command.args(["--config", "c.toml"]);
            }
            None => {
                let (name, value) = row.input.split_once('=').unwrap();
                command.env(name, value);
            }
        }
        if row.outcome == "ready" {
            let mut process = Process::spawn("bowline", &mut command).unwrap();
            return match process.next(soon()) {
                Ok(event) => event.kind().to_owned(),
                Err(_) => format!("{:?}", process.finish(soon())),
            };
        }
        let finished = run("bowline", &mut command, soon()).unwrap();
        let line = finished.stderr.first().cloned().unwrap_or_default();
        format!("{} {line}", finished.code.unwrap())
    });
}
