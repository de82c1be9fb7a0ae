//! `bowline identify`: a peer's own description.

use node::{Connection, error_chain, protocols::identify::Info};
use serde_json::{Value, json};

use crate::{cli, failure::Failure, output::Output, ping};

pub(crate) async fn run(args: cli::Identify, output: Output) -> Result<(), Failure> {
    let (node, connection) = ping::connect(&args.address, &args.dialing).await?;
    let outcome = connection.identify().await;
    let info = outcome.map_err(|error| {
        let cause = error_chain(&error);
        Failure::job(format!("cannot identify {}: {cause}", args.address))
    });
    let printed = info.and_then(|info| {
        let mut object = describe(&info);
        object["via"] = connection.via().into();
        output.lines(&object, || plain(&info, &connection))
    });
    node.shutdown().await;
    printed
}

fn describe(info: &Info) -> Value {
    let listen = info.listen.iter().map(ToString::to_string);
    json!({
        "event": "identified",
        "peer_id": info.peer.to_string(),
        "agent": info.agent.as_str(),
        "protocol_version": info.protocol_version.as_str(),
        "protocols": info.protocols,
        "listen": listen.collect::<Vec<_>>(),
        "signed": info.signed,
        "observed": info.observed.as_ref().map(ToString::to_string),
    })
}

fn plain(info: &Info, connection: &Connection) -> Vec<String> {
    let mut lines = vec![
        format!("peer      {}", info.peer),
        format!("agent     {}", info.agent),
        format!("version   {}", info.protocol_version),
        format!("via       {}", connection.via()),
    ];
    lines.extend(info.listen.iter().map(|a| format!("listen    {a}")));
    lines.extend(info.protocols.iter().map(|p| format!("protocol  {p}")));
    lines.extend(info.observed.iter().map(|a| format!("observed  {a}")));
    lines
}
