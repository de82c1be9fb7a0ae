//! Topics: `bowline topics`, `pub` and `sub`, and the topics of `bowline up`.

mod alone;
mod input;

use node::{
    Multiaddr, Node,
    admin::{self, ConnectError},
    gossip_net::{Subscription, TopicId},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use self::{alone::Alone, input::Lines};
use crate::{
    ask::{self, Question},
    cli::{Asking, Topic},
    failure::Failure,
    iroh, multiaddr,
    output::Output,
    settings::Topics,
};

/// The error of a node that was built without topics.
const WITHOUT: &str = "the running node was built without the feature gossip";

/// Accepts links of iroh peers, if the settings say so.
pub(crate) fn listen(node: &Node, topics: &Topics) -> Result<(), Failure> {
    let address = topics.iroh_listen;
    address.map_or(Ok(()), |address| iroh::listen(node, address))
}

/// Takes part in topics, until the result is dropped.
pub(crate) fn take_part(node: &Node, topics: &Topics) -> Result<Vec<Subscription>, Failure> {
    let subscribe = |name: &String| {
        // Nothing reads these subscriptions.
        let subscribed = node.subscribe_with_capacity(TopicId::from_name(name), [], 1);
        let subscription = subscribed.map_err(Failure::usage_error)?;
        iroh::join(node, &topics.iroh_peers, &subscription)?;
        Ok(subscription)
    };
    topics.names.iter().map(subscribe).collect()
}

pub(crate) async fn topics(asking: Asking, output: Output) -> Result<(), Failure> {
    let question = Question {
        path: "/topics",
        body: None,
        unknown: WITHOUT,
    };
    let answer = ask::answer(&asking, &question).await?;
    for topic in answer.as_array().into_iter().flatten() {
        output.lines(topic, || listed(topic))?;
    }
    Ok(())
}

fn listed(topic: &Value) -> Vec<String> {
    let number = |field: &str| topic[field].as_u64().unwrap_or_default();
    let mut lines = vec![format!(
        "topic {}: {} eager and {} lazy neighbours, {} messages received, {} duplicates, {} published",
        text(topic, "topic"),
        number("eager"),
        number("lazy"),
        number("received"),
        number("duplicates"),
        number("published"),
    )];
    let neighbours = topic["neighbours"].as_array().into_iter().flatten();
    lines.extend(neighbours.map(|neighbour| {
        let (peer, endpoint) = (text(neighbour, "peer_id"), text(neighbour, "endpoint_id"));
        format!("  neighbour {peer} (endpoint id {endpoint})")
    }));
    lines
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

pub(crate) async fn subscribe(args: Topic, output: Output) -> Result<(), Failure> {
    let mut each = |line: &Value| print(output, line);
    match Member::find(&args).await? {
        Member::Running(peers) => {
            let body = json!({"topic": args.topic, "peers": peers, "iroh_peers": args.iroh_peer});
            ask::lines(&args.asking, &question("/sub", &body), each).await
        }
        Member::Alone(mut alone) => {
            let outcome = alone.receive(&mut each).await;
            alone.finish().await;
            outcome
        }
    }
}

fn print(output: Output, line: &Value) -> Result<(), Failure> {
    output.lines(line, || plain(line))
}

/// The text of an event for people, who see only messages.
fn plain(line: &Value) -> Option<String> {
    match text(line, "event") {
        "message" => Some(match line["base64"].as_str() {
            Some(bytes) => format!("base64:{bytes}"),
            None => text(line, "data").to_owned(),
        }),
        "lagged" => Some(format!("{} events were missed", line["missed"])),
        _ => None,
    }
}

pub(crate) async fn publish(args: Topic, output: Output) -> Result<(), Failure> {
    match Member::find(&args).await? {
        Member::Running(peers) => through_node(&args, peers, output).await,
        Member::Alone(alone) => {
            let outcome = from_alone(&alone, &args.topic, output).await;
            alone.finish().await;
            outcome
        }
    }
}

/// Publishes through the running node, which stays in the topic until the end of the input.
async fn through_node(args: &Topic, peers: Vec<Multiaddr>, output: Output) -> Result<(), Failure> {
    let iroh_peers = &args.iroh_peer;
    let body = json!({
        "topic": args.topic,
        "peers": peers,
        "iroh_peers": iroh_peers,
        "messages": false,
    });
    let subscribed = Notify::new();
    let stay = question("/sub", &body);
    let staying = ask::lines(&args.asking, &stay, |_| {
        subscribed.notify_one();
        Ok(())
    });
    let publishing = async {
        subscribed.notified().await;
        let mut lines = Lines::of_stdin();
        while let Some(content) = lines.next().await? {
            let answer = ask::answer(&args.asking, &message(&args.topic, &content).ask()).await?;
            let is_duplicate = answer["duplicate"].as_bool().unwrap_or(false);
            let neighbours = answer["neighbours"].as_u64().unwrap_or(0);
            tell(output, &args.topic, (!is_duplicate).then_some(neighbours))?;
        }
        Ok::<(), Failure>(())
    };
    tokio::select! {
        ended = staying => Err(ended.err().unwrap_or_else(|| Failure::job("the node has stopped"))),
        published = publishing => published,
    }
}

async fn from_alone(alone: &Alone, topic: &str, output: Output) -> Result<(), Failure> {
    let mut lines = Lines::of_stdin();
    while let Some(content) = lines.next().await? {
        tell(output, topic, alone.publish(content).await?)?;
    }
    alone.flush().await
}

/// Prints the outcome of a publication. `None`: the topic has seen the message before.
fn tell(output: Output, topic: &str, neighbours: Option<u64>) -> Result<(), Failure> {
    let topic = TopicId::from_name(topic).to_string();
    match neighbours {
        Some(neighbours) => {
            let object = json!({"event": "published", "topic": topic, "neighbours": neighbours});
            output.line(&object, || format!("published to {neighbours} neighbours"))
        }
        None => {
            let what = "not published: the topic has seen the same message a short time ago";
            let object = json!({"event": "duplicate", "topic": topic});
            output.line(&object, || what.to_owned())
        }
    }
}

/// The body of a query.
struct Body(Value);

impl Body {
    fn ask(&self) -> Question<'_> {
        question("/pub", &self.0)
    }
}

fn message(topic: &str, content: &[u8]) -> Body {
    Body(match std::str::from_utf8(content) {
        Ok(text) => json!({"topic": topic, "data": text}),
        Err(_) => json!({"topic": topic, "base64": input::base64(content)}),
    })
}

fn question<'a>(path: &'a str, body: &'a Value) -> Question<'a> {
    Question {
        path,
        body: Some(body),
        unknown: WITHOUT,
    }
}

/// The node that takes part in a topic for the command.
enum Member {
    /// The running node, which joins the topic through these peers.
    Running(Vec<Multiaddr>),
    /// A node of the command.
    Alone(Alone),
}

impl Member {
    /// The running node if there is one. Otherwise a new node, if a member of the topic is named.
    async fn find(args: &Topic) -> Result<Self, Failure> {
        let parse = |text: &String| {
            let wrong = |error| Failure::usage(format!("--bootstrap: {error}"));
            multiaddr::parse(text).map_err(wrong)
        };
        let peers = args
            .bootstrap
            .iter()
            .map(parse)
            .collect::<Result<Vec<_>, _>>()?;
        let iroh_peers = iroh::parse("--iroh-peer", &args.iroh_peer)?;
        if args.asking.admin.is_some() {
            return Ok(Self::Running(peers));
        }
        match admin::connect(&ask::data_dir(&args.asking)?).await {
            Ok(_) => Ok(Self::Running(peers)),
            Err(ConnectError::NotRunning { .. }) if !peers.is_empty() || !iroh_peers.is_empty() => {
                Ok(Self::Alone(Alone::start(&args.topic, peers, &iroh_peers)?))
            }
            Err(error @ ConnectError::NotRunning { .. }) => Err(Failure::job(format!(
                "{error}; start one with 'bowline up', or name a member of the topic with --bootstrap or --iroh-peer"
            ))),
            Err(error) => Err(Failure::job_error(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_messages_and_not_the_neighbours() {
        let shown = |line: Value| plain(&line);
        let message = json!({"event": "message", "via": "a", "data": "hello"});
        assert_eq!(shown(message).as_deref(), Some("hello"));
        let bytes = json!({"event": "message", "via": "a", "base64": "/wA="});
        assert_eq!(shown(bytes).as_deref(), Some("base64:/wA="));
        let missed = json!({"event": "lagged", "missed": 3});
        assert_eq!(shown(missed).as_deref(), Some("3 events were missed"));
        assert_eq!(
            shown(json!({"event": "neighbour_up", "peer_id": "a"})),
            None
        );
    }
}
