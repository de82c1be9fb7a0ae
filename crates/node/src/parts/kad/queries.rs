//! The queries of the admin endpoint about the DHT.
//!
//! A query of the DHT takes longer than the endpoint waits for a document, so its answer is lines: the results, or one line
//! `{"event":"failed","reason":…}`. It is a POST even if it only looks for something: it sends requests to other peers, which a
//! web page in a browser of this machine must not cause.

use std::{sync::Arc, time::Duration};

use bootstrap::kad::MAX_VALUE;
use futures::{StreamExt, stream};
use serde::Deserialize;
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

/// The body of `/dht/find`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPeer {
    peer: String,
    timeout_s: Option<f64>,
}

/// The body of `/dht/get`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfKey {
    key: String,
    timeout_s: Option<f64>,
}

/// The body of `/dht/put`. The value is either a text or hexadecimal digits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    key: String,
    value: Option<String>,
    value_hex: Option<String>,
    timeout_s: Option<f64>,
}

/// The body of `/dht/unpublish`, with the key of a value or a CID.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unpublish {
    key: Option<String>,
    cid: Option<String>,
}

/// The body of `/dht/provide` and `/dht/providers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfContent {
    cid: String,
    timeout_s: Option<f64>,
}

/// Starts a query of the DHT, unless the body is wrong.
type Start = fn(Arc<Kademlia>, Value) -> Result<Answer, QueryError>;

pub(super) fn all(part: &Arc<Kademlia>) -> Vec<Query> {
    let query = |path, start: Start| {
        let part = Arc::clone(part);
        Query::write(path, move |body| {
            start(Arc::clone(&part), body).unwrap_or_else(Answer::refuse)
        })
    };
    let described = Arc::clone(part);
    vec![
        Query::read("/dht", move |_| Answer::ready(Ok(status(&described)))),
        query("/dht/find", find),
        query("/dht/get", get),
        query("/dht/put", put),
        query("/dht/provide", provide),
        query("/dht/providers", providers),
        query("/dht/unpublish", unpublish),
    ]
}

fn status(part: &Kademlia) -> Value {
    let connections = part.links().len();
    let kad = part.lock();
    let status = kad.status(Instant::now().into_std());
    let table = kad
        .table()
        .map(|peer| json!({"peer_id": peer.id.to_string(), "addresses": texts(&peer.addresses)}));
    json!({
        "serves": status.serves,
        "protocols": &part.protocols[..],
        "peers": status.peers,
        "network": status.network.map(f64::round),
        "queries": status.queries,
        "requests": status.requests,
        "connections": connections,
        "values": status.values,
        "providers": status.providers,
        "published": status.published,
        "table": table.collect::<Vec<_>>(),
    })
}

fn find(part: Arc<Kademlia>, body: Value) -> Result<Answer, QueryError> {
    let OfPeer { peer, timeout_s } = Query::parse(body)?;
    let deadline = deadline(timeout_s)?;
    let wrong = || malformed(format!("'{peer}' is not a peer id"));
    let peer = parse_peer_id(&peer).ok_or_else(wrong)?;
    Ok(lines(async move {
        let found = part.find_peer(peer, deadline).await?;
        Ok(vec![found.to_json()])
    }))
}

fn get(part: Arc<Kademlia>, body: Value) -> Result<Answer, QueryError> {
    let OfKey { key, timeout_s } = Query::parse(body)?;
    let (key, deadline) = (value_key(&key), deadline(timeout_s)?);
    Ok(lines(async move {
        let found = part.get_value(key, deadline).await?;
        Ok(vec![found.to_json()])
    }))
}

fn put(part: Arc<Kademlia>, body: Value) -> Result<Answer, QueryError> {
    let asked: Put = Query::parse(body)?;
    let (key, deadline) = (value_key(&asked.key), deadline(asked.timeout_s)?);
    let value = match (asked.value, asked.value_hex) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(digits)) => {
            let wrong = || malformed("value_hex is not hexadecimal".to_owned());
            unhex(&digits).ok_or_else(wrong)?
        }
        _ => {
            let what = "the body must contain the value as either value or value_hex";
            return Err(malformed(what.to_owned()));
        }
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

fn provide(part: Arc<Kademlia>, body: Value) -> Result<Answer, QueryError> {
    let (key, deadline) = content(body)?;
    Ok(lines(async move {
        let stored = part.provide(key, deadline).await?;
        Ok(vec![stored.to_json()])
    }))
}

fn providers(part: Arc<Kademlia>, body: Value) -> Result<Answer, QueryError> {
    let (key, deadline) = content(body)?;
    Ok(lines(async move {
        let found = part.find_providers(key, PROVIDERS, deadline).await?;
        Ok(found.iter().map(|provider| provider.to_json()).collect())
    }))
}

/// Ends the publication of a value or of a provider record.
fn unpublish(part: Arc<Kademlia>, body: Value) -> Result<Answer, QueryError> {
    let asked: Unpublish = Query::parse(body)?;
    let key = match (asked.key, asked.cid) {
        (Some(key), None) => value_key(&key),
        (None, Some(cid)) => content_key(&cid).map_err(|error| malformed(error.to_string()))?,
        _ => {
            let what = "the body must contain either key or cid";
            return Err(malformed(what.to_owned()));
        }
    };
    let line = match part.unpublish(&key) {
        true => json!({"event": "unpublished"}),
        false => json!({"event": "failed", "reason": "this node does not publish it"}),
    };
    Ok(lines(async move { Ok(vec![line]) }))
}

fn content(body: Value) -> Result<(Vec<u8>, Instant), QueryError> {
    let OfContent { cid, timeout_s } = Query::parse(body)?;
    let key = content_key(&cid).map_err(|error| malformed(error.to_string()))?;
    Ok((key, deadline(timeout_s)?))
}

/// The end of a query with this time limit.
fn deadline(timeout_s: Option<f64>) -> Result<Instant, QueryError> {
    let seconds = timeout_s.unwrap_or(TIMEOUT);
    if !(0.001..=MAX_TIMEOUT).contains(&seconds) {
        let wrong = format!("timeout_s is not a number of seconds from 0.001 to {MAX_TIMEOUT}");
        return Err(malformed(wrong));
    }
    Ok(Instant::now() + Duration::from_secs_f64(seconds))
}

fn malformed(what: String) -> QueryError {
    QueryError::Malformed(what)
}

fn lines(query: impl Future<Output = Result<Vec<Value>, DhtError>> + Send + 'static) -> Answer {
    let lines = stream::once(query).flat_map(|result| {
        stream::iter(result.unwrap_or_else(|error| {
            vec![json!({"event": "failed", "reason": error_chain(&error)})]
        }))
    });
    Answer::Lines(lines.boxed())
}
