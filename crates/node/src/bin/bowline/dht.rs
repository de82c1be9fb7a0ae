//! `bowline dht`: queries of a Kademlia DHT, through the running node or through a new node that joins the DHT first.

use std::time::Duration;

use node::{
    Config, DhtError, Keypair, Node, PeerId, bootstrap::kad::Mode, content_key, error_chain,
    value_key,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    ask::{self, Question},
    cli::{self, Asking, Through},
    failure::Failure,
    multiaddr,
    output::Output,
    settings,
};

/// The time that a node has for its answer after the time limit of the query.
const SLACK: Duration = Duration::from_secs(5);
/// The number of providers to look for.
const PROVIDERS: usize = 20;

/// A query, after all checks.
enum Query {
    Find(PeerId),
    Get(String),
    Put(String, Vec<u8>),
    Provide(String),
    Providers(String),
    /// The key of a value.
    Unpublish(String),
    /// The CID of some content.
    Unprovide(String),
}

pub(crate) async fn run(command: cli::Dht, output: Output) -> Result<(), Failure> {
    let (query, through) = match command {
        cli::Dht::Find { peer, through } => {
            let peer = multiaddr::peer_id(&peer).map_err(Failure::usage)?;
            (Query::Find(peer), through)
        }
        cli::Dht::Get { key, through } => (Query::Get(checked(key)?), through),
        cli::Dht::Put {
            key,
            value,
            hex,
            through,
        } => {
            let value = match hex {
                true => unhex(&value)?,
                false => value.into_bytes(),
            };
            (Query::Put(checked(key)?, value), through)
        }
        cli::Dht::Provide { cid, limit, asking } => {
            content_key(&cid).map_err(Failure::usage)?;
            let limit = Duration::from_secs_f64(limit.timeout);
            return through_node(&Query::Provide(cid), &asking, limit, output).await;
        }
        cli::Dht::Providers { cid, through } => {
            content_key(&cid).map_err(Failure::usage)?;
            (Query::Providers(cid), through)
        }
        cli::Dht::Unpublish { what, asking } => {
            let query = published(what)?;
            return through_node(&query, &asking, SLACK, output).await;
        }
    };
    let limit = Duration::from_secs_f64(through.limit.timeout);
    match through.bootstrap.is_empty() && through.config.is_none() {
        true => through_node(&query, &through.asking, limit, output).await,
        false => alone(query, through, limit, output).await,
    }
}

/// Asks the running node.
async fn through_node(
    query: &Query,
    asking: &Asking,
    limit: Duration,
    output: Output,
) -> Result<(), Failure> {
    let (path, body) = query.question(limit);
    let question = Question {
        path,
        body: Some(&body),
        unknown: "the running node takes part in no DHT: set [kademlia] mode in its configuration file, or the variable BOWLINE_KADEMLIA__MODE",
    };
    let mut results = 0;
    let print = |line: &Value| {
        results += 1;
        match line["event"].as_str() {
            Some("failed") => Err(query.failed(line["reason"].as_str().unwrap_or_default())),
            _ => output.lines(line, || plain(line)),
        }
    };
    let asked = timeout(limit + SLACK, ask::lines(asking, &question, print)).await;
    asked.unwrap_or_else(|_| Err(query.failed("the node did not answer in time")))?;
    match results {
        0 => Err(query.failed("the node stopped before the query ended")),
        _ => Ok(()),
    }
}

/// Asks with a new node, which joins the DHT as a client.
async fn alone(
    query: Query,
    through: Through,
    limit: Duration,
    output: Output,
) -> Result<(), Failure> {
    let node = new_node(through, limit)?;
    // The query itself has the limit, so that its error can say what was missing.
    let deadline = Instant::now() + limit + SLACK;
    let outcome = query.ask(&node, deadline).await;
    node.shutdown().await;
    let lines = outcome.map_err(|error| query.failed(&error_chain(&error)))?;
    let mut lines = lines.iter();
    lines.try_for_each(|line| output.lines(line, || plain(line)))
}

/// A node that joins the DHT of the flags and the configuration file.
fn new_node(through: Through, limit: Duration) -> Result<Node, Failure> {
    let flags = cli::Up {
        // The new node has an identity of its own and writes no file.
        data_dir: Some(".".into()),
        config: through.config,
        joining: cli::Joining {
            bootstrap: through.bootstrap,
            no_mdns: true,
            ..cli::Joining::default()
        },
        ..cli::Up::default()
    };
    let given = settings::resolve(flags)?;
    let mut bootstrap = given.config.bootstrap;
    bootstrap.saved = None;
    if bootstrap.list.is_empty() && bootstrap.keep.is_empty() && bootstrap.file.is_none() {
        let missing = "no peer of the DHT is named: set --bootstrap, or [node] bootstrap in the configuration file";
        return Err(Failure::usage(missing));
    }
    let mut dht = given.dht.with_mode(Mode::Client);
    dht.figures.query_timeout = limit;
    let (far, near) = (given.config.dial_timeout, given.config.dial_timeout_private);
    let config = Config::default()
        .with_bootstrap(bootstrap)
        .with_kademlia(dht)
        .with_dial_timeouts(far, near);
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    (given.dialer)(builder).build().map_err(Failure::job_error)
}

impl Query {
    /// The path and the body of the query of the admin endpoint.
    fn question(&self, limit: Duration) -> (&'static str, Value) {
        let (path, mut body) = match self {
            Self::Find(peer) => ("/dht/find", json!({"peer": peer.to_string()})),
            Self::Get(key) => ("/dht/get", json!({"key": key})),
            Self::Put(key, value) => {
                let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                ("/dht/put", json!({"key": key, "value_hex": value}))
            }
            Self::Provide(cid) => ("/dht/provide", json!({"cid": cid})),
            Self::Providers(cid) => ("/dht/providers", json!({"cid": cid})),
            Self::Unpublish(key) => return ("/dht/unpublish", json!({"key": key})),
            Self::Unprovide(cid) => return ("/dht/unpublish", json!({"cid": cid})),
        };
        body["timeout_s"] = limit.as_secs_f64().into();
        (path, body)
    }

    /// The results, one object per line.
    async fn ask(&self, node: &Node, deadline: Instant) -> Result<Vec<Value>, DhtError> {
        let key = |cid: &str| content_key(cid).unwrap_or_default();
        Ok(match self {
            Self::Find(peer) => vec![node.find_peer(*peer, deadline).await?.to_json()],
            Self::Get(text) => {
                let found = node.get_value(value_key(text), deadline).await?;
                vec![found.to_json()]
            }
            Self::Put(text, value) => {
                let put = node.put_value(value_key(text), value.clone(), deadline);
                vec![put.await?.to_json()]
            }
            Self::Provide(cid) => vec![node.provide(key(cid), deadline).await?.to_json()],
            Self::Providers(cid) => {
                let found = node.providers(key(cid), PROVIDERS, deadline).await?;
                found.iter().map(|provider| provider.to_json()).collect()
            }
            // A new node publishes nothing.
            Self::Unpublish(_) | Self::Unprovide(_) => Vec::new(),
        })
    }

    fn failed(&self, reason: &str) -> Failure {
        let what = match self {
            Self::Find(peer) => format!("cannot find {peer}"),
            Self::Get(key) => format!("cannot find a value of {key}"),
            Self::Put(key, _) => format!("cannot store the value of {key}"),
            Self::Provide(cid) => format!("cannot announce this node as a provider of {cid}"),
            Self::Providers(cid) => format!("cannot find a provider of {cid}"),
            Self::Unpublish(what) | Self::Unprovide(what) => {
                format!("cannot stop the publication of {what}")
            }
        };
        Failure::job(format!("{what}: {reason}"))
    }
}

/// The key of a value, unless it cannot be one.
fn checked(key: String) -> Result<String, Failure> {
    let mut parts = key.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(""), Some(space), Some(_)) if !space.is_empty() => Ok(key),
        _ => Err(Failure::usage(format!(
            "'{key}' is not a key: a key has the form /NAMESPACE/NAME, such as /app/name"
        ))),
    }
}

/// What the running node publishes, by its key or its CID.
fn published(what: String) -> Result<Query, Failure> {
    match (checked(what.clone()), content_key(&what)) {
        (Ok(key), _) => Ok(Query::Unpublish(key)),
        (_, Ok(_)) => Ok(Query::Unprovide(what)),
        _ => Err(Failure::usage(format!(
            "'{what}' is neither a key, such as /app/name, nor a CID"
        ))),
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "'{text}' is not an even number of hexadecimal digits"
        ))
    };
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let digits = digits.ok_or_else(wrong)?;
    let bytes = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]);
    bytes
        .map(|byte| u8::try_from(byte).map_err(|_| wrong()))
        .collect()
}

/// The lines for people.
fn plain(line: &Value) -> Vec<String> {
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let addresses = line["addresses"].as_array().into_iter().flatten();
    let addresses: Vec<String> = addresses
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    match line["event"].as_str() {
        Some("found") => addresses,
        Some("provider") => vec![format!("{} {}", text("peer_id"), addresses.join(" "))],
        Some("value") => vec![match line["value"].as_str() {
            Some(value) => value.to_owned(),
            None => text("value_hex"),
        }],
        Some("stored") => vec![format!(
            "stored at {} of {} peers",
            line["stored"], line["asked"]
        )],
        Some("unpublished") => vec!["no longer published".to_owned()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_namespace_and_a_name() {
        for right in ["/app/name", "/app/", "/app/a/b"] {
            assert!(checked(right.to_owned()).is_ok(), "{right}");
        }
        for wrong in ["", "/", "app/name", "/app", "//name"] {
            assert!(checked(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(unhex("00ff7F").unwrap(), [0, 255, 127]);
        for wrong in ["0", "0x00", "é0"] {
            assert!(unhex(wrong).is_err(), "{wrong}");
        }
    }
}
