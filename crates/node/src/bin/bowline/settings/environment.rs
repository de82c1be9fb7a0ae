//! The variables `BOWLINE_SECTION__KEY`.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{forms::Setting, hints};

/// The name of this source of settings.
pub(crate) const NAME: &str = "environment";

const PREFIX: &str = "BOWLINE_";

/// The most parts of a name, as in `BOWLINE_RELAY__TERMS__SLOTS`.
const MAX_PARTS: usize = 3;

/// The most lists and tables in a value. The parser calls itself for each of them.
const MAX_LISTS: usize = 16;

/// The settings in the environment. Each value is a text.
pub(crate) struct Environment(Vec<(Vec<String>, String)>);

impl Environment {
    /// Reads the variables of this process.
    ///
    /// # Errors
    ///
    /// A variable resembles a setting but is not one, or its value is not UTF-8 text.
    pub(crate) fn read() -> Result<Self, String> {
        Self::of(std::env::vars_os())
    }

    pub(crate) fn of(
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, String> {
        let mut settings = Vec::new();
        for (name, value) in variables {
            let Some((name, lower)) = own(&name) else {
                continue;
            };
            if !lower.contains("__") {
                match hints::with_section(&lower) {
                    Some(meant) => {
                        return Err(format!(
                            "{name} is not a setting: write {}",
                            name_of(&meant)
                        ));
                    }
                    None => continue,
                }
            }
            let path: Vec<String> = lower.split("__").map(str::to_owned).collect();
            if path.len() > MAX_PARTS {
                let start = path[..MAX_PARTS].join("__").to_ascii_uppercase();
                return Err(format!(
                    "{PREFIX}{start}__… is not a setting: a name has at most {MAX_PARTS} parts"
                ));
            }
            let value = text(name, value)?;
            if !value.trim().is_empty() {
                settings.push((path, value));
            }
        }
        Ok(Self(settings))
    }
}

/// The data directory in the variables. Commands that have no other settings read only this one, so an error in another variable
/// does not concern them.
///
/// # Errors
///
/// The value is not UTF-8 text, or not a path.
pub(crate) fn data_dir(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Option<PathBuf>, String> {
    let mut found = None;
    for (name, value) in variables {
        let Some((name, _)) = own(&name).filter(|(_, lower)| lower == "node__data_dir") else {
            continue;
        };
        // As in `Environment`, the last of several spellings counts, and an empty text is a missing setting.
        let read = Setting::of(&text(name, value)?);
        if let Some(path) = read.map_err(|error| format!("{name}: {error}"))?.0 {
            found = Some(path);
        }
    }
    Ok(found)
}

/// The name of a variable that begins with `BOWLINE_`, and its rest in small letters.
fn own(name: &OsStr) -> Option<(&str, String)> {
    let name = name.to_str()?;
    let rest = name.strip_prefix(PREFIX)?;
    Some((name, rest.to_ascii_lowercase()))
}

fn text(name: &str, value: OsString) -> Result<String, String> {
    let text = value.into_string();
    text.map_err(|_| format!("{name}: the value is not UTF-8 text"))
}

/// The name of the variable for a key such as `node.listen`.
pub(crate) fn name_of(key: &str) -> String {
    let key = key.replace('.', "__");
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named(NAME)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut all = Dict::new();
        for (path, value) in &self.0 {
            // relay-slots reads its terms itself, and wants numbers.
            let is_term = path.len() > 2;
            let lists = value.matches(['[', '{']).count();
            let value = match (is_term && lists <= MAX_LISTS).then(|| value.parse::<Value>()) {
                Some(Ok(parsed)) => parsed,
                _ => Value::from(value.clone()),
            };
            insert(&mut all, path, value);
        }
        Ok(Profile::Default.collect(all))
    }
}

fn insert(into: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            into.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let mut below = match into.remove(first) {
                Some(Value::Dict(_, below)) => below,
                _ => Dict::new(),
            };
            insert(&mut below, rest, value);
            into.insert(first.clone(), below.into());
        }
    }
}
