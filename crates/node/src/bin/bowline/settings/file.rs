//! The TOML file of `--config`.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use figment::{
    Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map},
};

use super::hints;
use crate::failure::Failure;

/// The maximum length of the file, in bytes.
const MAX_LENGTH: u64 = 1024 * 1024;

/// The text of a file, which is read once: it may be a pipe.
pub(crate) struct File {
    path: PathBuf,
    text: String,
}

impl File {
    /// Reads the file, and checks that it is TOML.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::usage(format!("{}{what}", path.display()));
        let text = text(path).map_err(|error| {
            Failure::usage(format!(
                "cannot read the configuration file {}: {error}",
                path.display()
            ))
        })?;
        let table = text.parse::<toml::Table>().map_err(|error| {
            let (line, what) = position(&text, &error);
            wrong(format!(", line {line}: {what}"))
        })?;
        let mut entries = table.iter();
        if let Some((name, _)) =
            entries.find(|(name, value)| hints::is_section(name) && !value.is_table())
        {
            return Err(wrong(format!(
                ": {name} is a section: write [{name}] and its settings below it"
            )));
        }
        let path = path.to_owned();
        Ok(Self { path, text })
    }
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(MAX_LENGTH + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_LENGTH {
        true => Err(io::Error::other("it is longer than 1 MiB")),
        false => Ok(text),
    }
}

fn position(text: &str, error: &toml::de::Error) -> (usize, String) {
    let offset = error.span().map_or(0, |span| span.start);
    let line = text[..offset.min(text.len())].matches('\n').count() + 1;
    (line, error.message().replace('\n', ", "))
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::from("TOML file", &*self.path)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Toml::string(&self.text).data()
    }
}
