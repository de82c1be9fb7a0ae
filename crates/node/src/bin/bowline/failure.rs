//! How a command ends badly: one line on stderr, at most a picture below it, and an exit code that says whose fault it is.

use std::{fmt::Display, process::ExitCode};

/// Why a command did not do its job.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    picture: Option<String>,
    code: u8,
}

impl Failure {
    /// The job failed: exit code 1.
    pub(crate) fn job(message: impl Display) -> Self {
        Self {
            message: message.to_string(),
            picture: None,
            code: 1,
        }
    }

    /// The command line or the configuration is wrong: exit code 2.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self {
            message: message.to_string(),
            picture: None,
            code: 2,
        }
    }

    /// Shows some lines below the message.
    #[cfg(feature = "tcp")]
    pub(crate) fn with_picture(mut self, picture: String) -> Self {
        self.picture = Some(picture);
        self
    }

    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("error: {}", one_line(&self.message));
        if let Some(picture) = &self.picture {
            eprintln!("{picture}");
        }
        ExitCode::from(self.code)
    }
}

/// Help and version are printed as they are; of an error only its first paragraph, on one line.
pub(crate) fn of_clap(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed stdout is the reader's choice.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let rendered = error.render().to_string();
    let paragraph = rendered.split("\n\n").next().unwrap_or_default();
    let message = paragraph.strip_prefix("error: ").unwrap_or(paragraph);
    Failure::usage(message).report()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
