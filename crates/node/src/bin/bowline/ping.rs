//! `bowline ping`: pings a peer and prints the round-trip times.

use std::time::Duration;

use node::{Config, Connection, Keypair, Node, error_chain};
use serde_json::json;

use crate::{cli, dialing, failure::Failure, multiaddr, output::Output};

pub(crate) async fn run(args: cli::Ping, output: Output) -> Result<(), Failure> {
    let (node, connection) = connect(&args.address, &args.dialing).await?;
    let outcome = pings(&connection, &args, output).await;
    node.shutdown().await;
    outcome
}

/// A node with a new identity, connected to `address`.
pub(crate) async fn connect(
    address: &str,
    dialing: &cli::Dialing,
) -> Result<(Node, Connection), Failure> {
    let address = multiaddr::parse(address).map_err(Failure::usage)?;
    let rules = dialing::rules("--dialer", &dialing.dialer)?;
    // The command sends its own pings, and pings of the node would delay them.
    let day = Duration::from_secs(86_400);
    let config = Config::default();
    let ping = config.ping.with_interval(day);
    let config = config.with_ping(ping);
    let node = rules(Node::builder(Keypair::generate_ed25519()).config(config));
    let node = node.build().map_err(Failure::job_error)?;
    match node.dial([address]).await {
        Ok(connection) => Ok((node, connection)),
        Err(error) => Err(Failure::job_error(error)),
    }
}

async fn pings(connection: &Connection, args: &cli::Ping, output: Output) -> Result<(), Failure> {
    let interval = Duration::from_secs_f64(args.interval);
    let mut lost = Vec::new();
    for n in 0..args.count {
        if n > 0 {
            tokio::time::sleep(interval).await;
        }
        match connection.ping().await {
            Ok(rtt) => {
                let (micros, via) = (rtt.as_micros(), connection.via());
                let object = json!({"event": "pong", "rtt_us": micros, "via": via});
                output.line(&object, || format!("{} ms via {via}", micros as f64 / 1e3))?;
            }
            Err(error) => lost.push(error_chain(&error)),
        }
    }
    match lost.last() {
        None => Ok(()),
        Some(last) => Err(Failure::job(format!(
            "{} of {} pings to {} were not answered: {last}",
            lost.len(),
            args.count,
            args.address
        ))),
    }
}
