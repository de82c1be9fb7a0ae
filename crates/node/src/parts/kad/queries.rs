//! The queries of the admin endpoint about the DHT.
//!
//! A query of the DHT takes longer than the endpoint waits for a document, so its answer is lines: the results, or one line
//! `{"event":"failed","reason":…}`. It is a POST even if it only looks for something: it sends requests to other peers, which a
//! web page in a browser of this machine must not cause.

use std::{sync::Arc, time::Duration};

use bootstrap::kad::MAX_VALUE;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Kademlia,
    api::DhtError,
    found::texts,
    text::{content_key, unhex, value_key},
};
use crate::{
    error::error_chain,
    part::{Answer, Query, QueryError},
    peer_text::parse_peer_id,
};

/// The time limit of a query without a time limit of its own.
const TIMEOUT: f64 = 60.0;
/// The longest time limit, in seconds.
const MAX_TIMEOUT: f64 = 600.0;
/// The number of providers that a query looks for, unless it says otherwise.
const PROVIDERS: usize = 20;

type Parsed = Result<Answer, QueryError>;

pub(super) fn all(part: &Arc<Kademlia>) -> Vec<Query> {
    let query = |path, write, parse: fn(Arc<Kademlia>, &Value) -> Parsed| {
        let part = Arc::clone(part);
        let answer = move |asked: Value| {
            let parsed = parse(Arc::clone(&part), &asked);
            parsed.unwrap_or_else(|error| document(Err(error)))
        };
        Query {
            path,
            write,
            answer: Arc::new(answer),
        }
    };
    vec![
        query("/dht", false, status),
        query("/dht/find", true, find),
        query("/dht/get", true, get),
        query("/dht/put", true, put),
        query("/dht/provide", true, provide),
        query("/dht/providers", true, providers),
    ]
}

fn status(part: Arc<Kademlia>, _: &Value) -> Parsed {
    let connections = part.links().len();
    let kad = part.lock();
    let status = kad.status(Instant::now().into_std());
    let table = kad
        .table()
        .map(|peer| json!({"peer_id": peer.id.to_string(), "addresses": texts(&peer.addresses)}));
    let answer = json!({
        "serves": status.serves,
        "protocols": &part.protocols[..],
        "peers": status.peers,
        "network": status.network.map(f64::round),
        "queries": status.queries,
        "requests": status.requests,
        "connections": connections,
        "values": status.values,
        "providers": status.providers,
        "table": table.collect::<Vec<_>>(),
    });
    Ok(document(Ok(answer)))
}

fn find(part: Arc<Kademlia>, asked: &Value) -> Parsed {
    let text = field(asked, "peer")?;
    let peer = parse_peer_id(text);
    let wrong = || QueryError::Malformed(format!("'{text}' is not a peer id"));
    let (peer, deadline) = (peer.ok_or_else(wrong)?, deadline(asked)?);
    Ok(lines(async move {
        let found = part.find_peer(peer, deadline).await?;
        Ok(vec![found.to_json()])
    }))
}

fn get(part: Arc<Kademlia>, asked: &Value) -> Parsed {
    let (key, deadline) = (value_key(field(asked, "key")?), deadline(asked)?);
    Ok(lines(async move {
        let found = part.get_value(key, deadline).await?;
        Ok(vec![found.to_json()])
    }))
}

fn put(part: Arc<Kademlia>, asked: &Value) -> Parsed {
    let (key, deadline) = (value_key(field(asked, "key")?), deadline(asked)?);
    let value = match asked.get("value_hex") {
        Some(_) => {
            let wrong = || QueryError::Malformed("value_hex is not hexadecimal".to_owned());
            unhex(field(asked, "value_hex")?).ok_or_else(wrong)?
        }
        None => field(asked, "value")?.as_bytes().to_vec(),
    };
    if value.len() > MAX_VALUE {
        let length = value.len();
        let long = format!("the value has {length} bytes, and the limit is {MAX_VALUE}");
        return Err(QueryError::Invalid(long));
    }
    Ok(lines(async move {
        let stored = part.put_value(key, value, deadline).await?;
        Ok(vec![stored.to_json()])
    }))
}

fn provide(part: Arc<Kademlia>, asked: &Value) -> Parsed {
    let (key, deadline) = (content(asked)?, deadline(asked)?);
    Ok(lines(async move {
        let stored = part.provide(key, deadline).await?;
        Ok(vec![stored.to_json()])
    }))
}

fn providers(part: Arc<Kademlia>, asked: &Value) -> Parsed {
    let (key, deadline) = (content(asked)?, deadline(asked)?);
    Ok(lines(async move {
        let found = part.find_providers(key, PROVIDERS, deadline).await?;
        Ok(found.iter().map(|provider| provider.to_json()).collect())
    }))
}

fn field<'a>(asked: &'a Value, name: &str) -> Result<&'a str, QueryError> {
    let text = asked.get(name).and_then(Value::as_str);
    text.ok_or_else(|| QueryError::Malformed(format!("the text {name} is missing")))
}

fn content(asked: &Value) -> Result<Vec<u8>, QueryError> {
    let key = content_key(field(asked, "cid")?);
    key.map_err(|error| QueryError::Malformed(error.to_string()))
}

/// The end of the query.
fn deadline(asked: &Value) -> Result<Instant, QueryError> {
    let seconds = match asked.get("timeout_s") {
        None => Some(TIMEOUT),
        Some(seconds) => seconds.as_f64(),
    };
    let seconds = seconds.filter(|seconds| (0.001..=MAX_TIMEOUT).contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        let wrong = format!("timeout_s is not a number of seconds from 0.001 to {MAX_TIMEOUT}");
        QueryError::Malformed(wrong)
    })?;
    Ok(Instant::now() + Duration::from_secs_f64(seconds))
}

fn lines(query: impl Future<Output = Result<Vec<Value>, DhtError>> + Send + 'static) -> Answer {
    let lines = stream::once(query).flat_map(|result| {
        stream::iter(result.unwrap_or_else(|error| {
            vec![json!({"event": "failed", "reason": error_chain(&error)})]
        }))
    });
    Answer::Lines(lines.boxed())
}

fn document(answer: Result<Value, QueryError>) -> Answer {
    Answer::Document(Box::pin(std::future::ready(answer)))
}
