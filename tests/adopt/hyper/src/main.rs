//! A hyper-util client that dials through a [`Dialer`](transport_tcp::Dialer): gets a page.

mod connector;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Error, Result};
use clap::Parser;
use http_body_util::{BodyExt, Empty};
use hyper::{Uri, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde::Serialize;
use tokio::time::timeout;
use transport_tcp::DialError;

use crate::connector::DialerConnector;

/// How long the request may take, the dial not counted.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gets a page, through a dialer of transport-tcp
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    way: adopt_cli::Way,
    /// Write the page to this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[arg(value_name = "URL")]
    url: Uri,
}

#[derive(Serialize)]
struct Response {
    event: &'static str,
    status: u16,
    bytes: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = run(Cli::parse()).await;
    adopt_cli::report(&outcome, dial_error)
}

async fn run(cli: Cli) -> Result<Response> {
    let connector = DialerConnector::new(cli.way.dialer()?, cli.way.timeout);
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let get = async {
        let response = client.get(cli.url).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, Error>((status, body))
    };
    let patience = cli.way.timeout + PATIENCE;
    let (status, body) = timeout(patience, get)
        .await
        .with_context(|| format!("gave up after {patience:?}"))??;
    if let Some(file) = cli.output {
        std::fs::write(&file, &body).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(Response {
        event: "response",
        status,
        bytes: body.len(),
    })
}

/// hyper keeps the connector's error as a source of its own.
fn dial_error(error: &Error) -> Option<&DialError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}
