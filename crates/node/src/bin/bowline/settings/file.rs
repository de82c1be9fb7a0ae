//! The TOML file of `--config`.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
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

/// The time limit for reading a file that is not a regular file, such as a pipe.
const PATIENCE: Duration = Duration::from_secs(10);

/// The text of a file, which is read once: it may be a pipe.
pub(crate) struct File {
    path: PathBuf,
    text: String,
}

impl File {
    /// Reads the file, and checks that it is TOML.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::usage(format!("{}{what}", path.display()));
        let text = text(path, PATIENCE).map_err(|error| {
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
        let mut entries = table.iter();
        if let Some((name, _)) =
            entries.find(|(name, value)| !hints::is_section(name) && value.is_table())
        {
            let hint = hints::section_instead(name);
            return Err(wrong(format!(": there is no section [{name}]; {hint}")));
        }
        let path = path.to_owned();
        Ok(Self { path, text })
    }
}

fn text(path: &Path, patience: Duration) -> io::Result<String> {
    if path.metadata()?.is_file() {
        return read(path);
    }
    // To open a pipe without a writer, and to read from a silent one, can take forever. The thread ends with the process.
    let (sender, outcome) = mpsc::channel();
    let pipe = path.to_owned();
    thread::Builder::new().spawn(move || sender.send(read(&pipe)))?;
    outcome.recv_timeout(patience).unwrap_or_else(|_| {
        let seconds = patience.as_secs_f32();
        Err(io::Error::other(format!(
            "it is a pipe or a device, and no process has written a complete configuration to it within {seconds} s"
        )))
    })
}

fn read(path: &Path) -> io::Result<String> {
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn pipe(folder: &Path) -> PathBuf {
        let path = folder.join("pipe");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        path
    }

    #[test]
    fn a_pipe_without_a_writer_is_an_error_after_the_time_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = pipe(folder.path());
        let error = text(&path, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().ends_with("within 0.05 s"), "{error}");
    }

    #[test]
    fn a_pipe_whose_writer_is_late_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = pipe(folder.path());
        let to = path.clone();
        let writer = thread::spawn(move || fs::write(to, "[node]\n".repeat(20_000)));
        let read = text(&path, PATIENCE).unwrap();
        assert_eq!(read.len(), 7 * 20_000);
        writer.join().unwrap().unwrap();
    }
}
