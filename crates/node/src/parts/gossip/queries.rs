//! The queries of the admin endpoint about topics: their list, their messages as they arrive, and the publication of messages.

use std::{future::ready, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use gossip_net::{Bytes, Event, PublishError, Subscription, TopicId, TopicStatus, wire::PeerInfo};
use multiaddr::Multiaddr;
use multibase::Base::Base64Pad;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Gossip, id::peer_of};
use crate::{
    error::error_chain,
    part::{Answer, Query, QueryError},
};

/// The time that a message waits for a neighbour and for room. The `bowline` command waits one second more for the answer.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(4);

/// The most bytes of messages that wait for one subscriber.
const WAITING_BYTES: usize = 8 << 20;

pub(super) fn all(part: &Arc<Gossip>) -> Vec<Query> {
    let [topics, subscribing, publishing] = std::array::from_fn(|_| Arc::clone(part));
    vec![
        Query::read("/topics", move |_| Answer::ready(Ok(list(&topics)))),
        Query::write("/sub", move |body| {
            subscribe(&subscribing, body).unwrap_or_else(Answer::refuse)
        }),
        Query::write("/pub", move |body| {
            let part = Arc::clone(&publishing);
            Answer::Document(async move { publish(&part, body).await }.boxed())
        }),
    ]
}

fn list(part: &Gossip) -> Value {
    let running = part.engine.running();
    let topics = running.map_or_else(Vec::new, |gossip| gossip.topics());
    topics.iter().map(describe).collect()
}

fn describe(status: &TopicStatus) -> Value {
    let neighbour = |id| {
        let peer = peer_of(id).map(|peer| peer.to_string());
        json!({"peer_id": peer, "endpoint_id": id.to_string()})
    };
    let counters = &status.counters;
    json!({
        "topic": status.topic.to_string(),
        "neighbours": status.neighbors.iter().map(neighbour).collect::<Vec<_>>(),
        "eager": status.eager,
        "lazy": status.lazy,
        "remembered": status.remembered,
        "received": counters.received,
        "duplicates": counters.duplicates,
        "published": counters.published,
        "grafts": counters.grafts,
        "never_arrived": counters.never_arrived,
        "max_hops": counters.max_hops,
    })
}

/// The body of `/sub`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    topic: String,
    /// Addresses of members of the topic.
    #[serde(default)]
    peers: Vec<Multiaddr>,
    /// Members of the topic with the addresses of their iroh endpoints.
    #[serde(default)]
    iroh_peers: Vec<String>,
    /// Whether the answer contains messages. If not, the answer only keeps the node in the topic.
    #[serde(default = "yes")]
    messages: bool,
}

fn yes() -> bool {
    true
}

fn subscribe(part: &Gossip, body: Value) -> Result<Answer, QueryError> {
    let Subscribe {
        topic,
        peers,
        iroh_peers: iroh,
        messages,
    } = Query::parse(body)?;
    let topic = TopicId::from_name(&topic);
    let iroh = iroh_peers(part, &iroh)?;
    let capacity = capacity(part.config.core.max_message_size);
    let subscribed = part.subscribe(topic, &peers, Some(capacity));
    let subscription = subscribed.map_err(|error| invalid(&error))?;
    subscription.sender().join_peers(&iroh);
    let first = json!({"event": "subscribed", "topic": topic.to_string()});
    let events = stream::unfold(subscription, next);
    let lines = events.filter_map(move |event| {
        let wanted = messages || !matches!(event, Event::Received(_));
        ready(wanted.then(|| describe_gossip(&topic, &event)).flatten())
    });
    let lines = stream::once(ready(first)).chain(lines);
    Ok(Answer::Lines(lines.boxed()))
}

fn invalid(error: &dyn std::error::Error) -> QueryError {
    QueryError::Invalid(error_chain(error))
}

/// The iroh peers in a question, as gossip-net names them.
#[cfg(feature = "iroh")]
fn iroh_peers(part: &Gossip, texts: &[String]) -> Result<Vec<PeerInfo>, QueryError> {
    let peers = texts.iter().map(|text| text.parse::<super::IrohPeer>());
    let peers = peers.collect::<Result<Vec<_>, _>>();
    let peers = peers.map_err(|error| invalid(&error))?;
    let named = part.name_iroh_peers(&peers);
    named.map_err(|error| invalid(&error))
}

#[cfg(not(feature = "iroh"))]
fn iroh_peers(_: &Gossip, texts: &[String]) -> Result<Vec<PeerInfo>, QueryError> {
    match texts {
        [] => Ok(Vec::new()),
        _ => Err(QueryError::Invalid(
            "this node was built without links to iroh".to_owned(),
        )),
    }
}

async fn next(mut subscription: Subscription) -> Option<(Event, Subscription)> {
    let event = subscription.recv().await?;
    Some((event, subscription))
}

/// The number of events that may wait for a subscriber.
fn capacity(max_message_size: usize) -> usize {
    (WAITING_BYTES / max_message_size.max(1)).clamp(8, 2048)
}

/// An event of a topic as a JSON object, as the `bowline` command prints it. `None`: the event has no object. A message that is not
/// UTF-8 has the field `base64` instead of `data`.
///
/// ```
/// use node::gossip_net::{Event, TopicId};
///
/// let (topic, event) = (TopicId::from_name("news"), Event::Lagged(3));
/// let object = node::describe_gossip(&topic, &event).unwrap();
/// assert_eq!((&object["event"], &object["missed"]), (&"lagged".into(), &3.into()));
/// ```
pub fn describe_gossip(topic: &TopicId, event: &Event) -> Option<Value> {
    let peer = |id| peer_of(id).map(|peer| peer.to_string());
    let mut line = json!({"event": null, "topic": topic.to_string()});
    match event {
        Event::Received(message) => {
            line["event"] = "message".into();
            line["via"] = json!(peer(&message.via));
            match std::str::from_utf8(&message.content) {
                Ok(text) => line["data"] = text.into(),
                Err(_) => line["base64"] = Base64Pad.encode(&message.content).into(),
            }
        }
        Event::NeighborUp(id) => {
            line["event"] = "neighbour_up".into();
            line["peer_id"] = json!(peer(id));
        }
        Event::NeighborDown(id, cause) => {
            line["event"] = "neighbour_down".into();
            line["peer_id"] = json!(peer(id));
            line["cause"] = cause.to_string().into();
        }
        Event::Lagged(missed) => {
            line["event"] = "lagged".into();
            line["missed"] = (*missed).into();
        }
        _ => return None,
    }
    Some(line)
}

/// The body of `/pub`. The message is either a text or bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    topic: String,
    data: Option<String>,
    base64: Option<String>,
}

async fn publish(part: &Gossip, body: Value) -> Result<Value, QueryError> {
    let Publish {
        topic,
        data,
        base64,
    } = Query::parse(body)?;
    let malformed = |what: String| QueryError::Malformed(what);
    let content: Bytes = match (data, base64) {
        (Some(text), None) => text.into(),
        (None, Some(base64)) => {
            let decoded = Base64Pad.decode(&base64);
            let wrong = |error| malformed(format!("the field base64 is not valid base64: {error}"));
            decoded.map_err(wrong)?.into()
        }
        _ => {
            let what = "the body must contain the message as either data or base64";
            return Err(malformed(what.to_owned()));
        }
    };
    // Without another subscription, the node joins the topic for this message and leaves it afterwards.
    let subscription = part.subscribe(TopicId::from_name(&topic), &[], Some(1));
    let subscription = subscription.map_err(|error| invalid(&error))?;
    let until = tokio::time::Instant::now() + PUBLISH_TIMEOUT;
    let published = subscription.publish(content, until.into_std()).await;
    let (neighbours, is_duplicate) = match published {
        Ok(neighbours) => (neighbours, false),
        Err(PublishError::Duplicate) => (0, true),
        Err(error) => return Err(invalid(&error)),
    };
    Ok(json!({"neighbours": neighbours, "duplicate": is_duplicate}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_mib_of_the_longest_messages_wait_for_a_subscriber() {
        assert_eq!(capacity(4057), 2048);
        assert_eq!(capacity(1 << 20), 8);
        assert_eq!(capacity(16 << 10), 512);
    }
}
