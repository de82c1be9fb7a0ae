//! Tables of commands and their outcomes: two lines per row, `$ INPUT` and the outcome.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use super::NOBODY;

/// A row of a table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The text after `$ `.
    pub(crate) input: &'static str,
    /// The line after it.
    pub(crate) outcome: &'static str,
}

/// The rows of a table. Empty lines and lines that begin with `# ` are left out.
pub(crate) fn rows(text: &'static str) -> Vec<Row> {
    let lines = text.lines();
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with("# "));
    let mut rows = Vec::new();
    while let Some(input) = lines.next() {
        let input = input.strip_prefix('$').unwrap().trim_start();
        let outcome = lines.next().unwrap();
        rows.push(Row { input, outcome });
    }
    rows
}

/// Runs the rows, two at a time, and lists each row that `run` answers with another outcome.
pub(crate) fn check(rows: Vec<Row>, run: impl Fn(&Row) -> String + Send + Sync) {
    assert!(!rows.is_empty());
    let waiting = Mutex::new(rows.into_iter());
    let wrong = Arc::new(Mutex::new(String::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some(row) = next else { return };
                    let found = run(&row).replace(NOBODY, "$ID");
                    if found != row.outcome {
                        let text = format!("\n$ {}\n- {}\n+ {found}", row.input, row.outcome);
                        wrong.lock().unwrap().push_str(&text);
                    }
                }
            });
        }
    });
    let wrong = wrong.lock().unwrap();
    assert!(wrong.is_empty(), "other outcomes than in the table:{wrong}");
}

/// The words of a command. Quotes keep a word together, and `''` is an empty word.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut quoted = false;
    let mut word: Option<String> = None;
    for c in text.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
        .iter()
        .map(|word| word.replace("$ID", NOBODY))
        .collect()
}
