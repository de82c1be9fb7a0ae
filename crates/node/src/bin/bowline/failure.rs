//! The failure of a command: one line on standard error, sometimes an excerpt, and an exit code.

use std::{error::Error, fmt::Display, process::ExitCode};

use node::{conn_state::Escaped, error_chain};

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
        eprintln!("error: {}", one_line(&self.message));
        if let Some(excerpt) = &self.excerpt {
            eprintln!("{excerpt}");
        }
        ExitCode::from(self.code)
    }
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
