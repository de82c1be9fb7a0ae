//! The failure of a command: one line on standard error, sometimes an excerpt, and an exit code.

use std::{
    error::Error,
    fmt::{self, Display},
    io::{self, ErrorKind},
    iter,
    process::ExitCode,
};

use node::{conn_state::Escaped, error_chain};

use crate::log;

/// The failure of a command.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    excerpt: Option<String>,
    code: u8,
}

impl Failure {
    /// The job failed: exit code 1.
    pub(crate) fn job(message: impl Display) -> Self {
        Self {
            message: message.to_string(),
            excerpt: None,
            code: 1,
        }
    }

    /// The job failed because of `error`: exit code 1.
    pub(crate) fn job_error(error: impl Error) -> Self {
        Self::job(error_chain(&error))
    }

    /// The system refused a file, a socket or an address: exit code 1. The message ends with a remedy, if the error has a
    /// common one.
    pub(crate) fn system_error(error: impl Error + 'static) -> Self {
        let remedy = remedy(&error).map_or_else(String::new, |remedy| format!("; {remedy}"));
        Self::job(error_chain(&error) + &remedy)
    }

    /// The command line or the configuration is wrong: exit code 2.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self {
            code: 2,
            ..Self::job(message)
        }
    }

    /// The command line or the configuration is wrong because of `error`: exit code 2.
    pub(crate) fn usage_error(error: impl Error) -> Self {
        Self::usage(error_chain(&error))
    }

    /// Shows some lines below the message.
    #[cfg(feature = "tcp")]
    pub(crate) fn with_excerpt(mut self, excerpt: String) -> Self {
        self.excerpt = Some(excerpt);
        self
    }

    pub(crate) fn report(&self) -> ExitCode {
        warn(&format!("error: {}", one_line(&self.message)));
        if let Some(excerpt) = &self.excerpt {
            warn(excerpt);
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut causes = iter::successors(Some(error), |&error| error.source());
    let cause = causes.find_map(|error| error.downcast_ref::<io::Error>())?;
    match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("free some space on that disk"),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            Some("choose a --data-dir that this user can write to")
        }
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable => {
            Some("choose another address with --admin")
        }
        _ => None,
    }
}

/// Prints a line on standard error, unless standard error is closed or its disk is full. Does not wait for the reader.
pub(crate) fn warn(line: &str) {
    log::stderr().push(line);
}

/// Prints help and version unchanged. Prints only the first paragraph of an error, on one line.
pub(crate) fn of_clap(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader may close standard output at any time.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let rendered = error.render().to_string();
    let paragraph = rendered.split("\n\n").next().unwrap_or_default();
    let message = paragraph.strip_prefix("error: ").unwrap_or(paragraph);
    Failure::usage(message).report()
}

/// A peer may have chosen a part of the text.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Escaped(line).to_string()
}
