//! Errors about settings: the place of the setting, what is wrong, and what to write instead.

use figment::{
    Metadata, Source,
    error::{Actual, Kind},
};

use super::{environment, hints};
use crate::failure::Failure;

/// The message names the setting, and the file or variable that contains it.
pub(crate) fn explain(error: &figment::Error) -> Failure {
    let place = |key: &str| place(error.metadata.as_ref(), key);
    let is_variable = matches!(&error.metadata, Some(from) if from.name == environment::NAME);
    let spelled = |key: &str| match is_variable {
        true => environment::name_of(key),
        false => key.to_owned(),
    };
    let what = match &error.kind {
        Kind::UnknownField(unknown, expected) => {
            let section = error
                .path
                .split_last()
                .map_or(&[][..], |(_, section)| section);
            let hint = hints::instead(&section.join("."), unknown, expected, spelled);
            // The middle of a variable's name is always a section.
            let what = match is_variable && section.is_empty() {
                true => "section",
                false => "setting",
            };
            format!("there is no such {what}; {hint}")
        }
        Kind::InvalidType(found, expected) => {
            format!(
                "{} is not {}",
                found_in_words(found),
                expected_in_words(expected)
            )
        }
        other => other.to_string(),
    };
    Failure::usage(format!("{}: {what}", place(&error.path.join("."))))
}

fn found_in_words(found: &Actual) -> String {
    match found {
        Actual::Bool(value) => format!("'{value}'"),
        Actual::Unsigned(value) => format!("'{value}'"),
        Actual::Signed(value) => format!("'{value}'"),
        Actual::Float(value) => format!("'{value}'"),
        Actual::Str(text) => format!("'{text}'"),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

fn expected_in_words(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" => "a whole number, 0 or more",
        "f64" => "a number without a unit",
        "a boolean" | "bool" => "true or false",
        "struct Terms" => "a table of relay terms",
        tuple if tuple.contains("tuple") => "a pair such as [8, 0.5]",
        structure if structure.starts_with("struct") => "a section with settings",
        other => other,
    }
}

/// The name of a setting where the user wrote it: in the file, in the environment or as a flag.
pub(crate) fn place(metadata: Option<&Metadata>, key: &str) -> String {
    let flag = FLAGS.iter().find(|(name, _)| *name == key);
    match metadata.map(|from| (from.source.as_ref(), &*from.name)) {
        Some((Some(Source::File(path)), _)) => format!("{}, {key}", path.display()),
        Some((_, environment::NAME)) => environment::name_of(key),
        Some(_) => flag.map_or(key, |(_, flag)| flag).to_owned(),
        None => key.to_owned(),
    }
}

/// The flags that may hold a wrong value.
const FLAGS: [(&str, &str); 9] = [
    ("node.listen", "--listen"),
    ("node.bootstrap", "--bootstrap"),
    ("bootstrap.file", "--bootstrap-file"),
    ("bootstrap.keep", "--keep"),
    ("gossip.topics", "--topic"),
    ("gossip.iroh_listen", "--iroh-listen"),
    ("gossip.iroh_peers", "--iroh-peer"),
    ("relay.reserve_at", "--reserve-at"),
    ("dial.rules", "--dialer"),
];
