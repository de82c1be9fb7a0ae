//! What the programs share and no adopter needs: the flags that choose a dialer, and the line that is printed.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Error, Result};
use clap::Args;
use serde::Serialize;
use transport_tcp::{DialError, Dialer, Direct, Socks5};

/// How to dial.
#[derive(Args)]
pub struct Way {
    /// Dial through this SOCKS5 proxy [default: directly]
    #[arg(long, value_name = "IP:PORT")]
    socks5: Option<SocketAddr>,
    /// The user at the proxy
    #[arg(long, requires_all = ["socks5", "password"])]
    user: Option<String>,
    /// The user's password
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// How long the dial may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

impl Way {
    /// The dialer that these flags describe.
    pub fn dialer(&self) -> Result<Arc<dyn Dialer>> {
        let Some(proxy) = self.socks5 else {
            return Ok(Arc::new(Direct::default()));
        };
        let socks5 = Socks5::new(proxy);
        Ok(Arc::new(match (&self.user, &self.password) {
            (Some(user), Some(password)) => socks5.with_password(user, password),
            _ => socks5,
        }))
    }
}

/// The line of a failure.
#[derive(Serialize)]
struct Failure {
    event: &'static str,
    /// How far the dialer got, if it was the dialer that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    message: String,
}

impl Failure {
    fn new(error: &Error, dial_error: Option<&DialError>) -> Self {
        Self {
            event: "error",
            stage: dial_error.map(|error| error.stage().name()),
            // The dialer's error and its causes; the stack around it would only repeat them.
            message: dial_error.map_or_else(|| format!("{error:#}"), |error| chain(error)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}

/// Prints what came of the job and turns it into an exit code. `dial_error` finds the dialer's error in that of the
/// stack around it.
pub fn report<T: Serialize>(
    outcome: &Result<T>,
    dial_error: impl Fn(&Error) -> Option<&DialError>,
) -> ExitCode {
    let line = match outcome {
        Ok(done) => serde_json::to_string(done),
        Err(error) => serde_json::to_string(&Failure::new(error, dial_error(error))),
    };
    match line {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("{error}"),
    }
    ExitCode::from(u8::from(outcome.is_err()))
}
