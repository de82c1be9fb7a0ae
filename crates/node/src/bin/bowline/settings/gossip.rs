//! The settings of topics: `[gossip]`.

use std::{net::SocketAddr, num::NonZeroUsize};

use node::{Config, GossipConfig};
use serde::Deserialize;

use super::forms::{List, Setting};
use crate::{
    failure::Failure,
    iroh::{self, IrohPeer},
};

/// The longest message that gossip can carry.
const LONGEST_MESSAGE: usize = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GossipSection {
    topics: List<','>,
    max_topics: Setting<NonZeroUsize>,
    max_message_size: Setting<NonZeroUsize>,
    max_neighbours: Setting<NonZeroUsize>,
    flood: Setting<bool>,
    iroh_listen: Setting<SocketAddr>,
    iroh_peers: List<','>,
}

/// The settings of topics for `bowline up`.
pub(crate) struct Topics {
    /// The names of the topics in which the node takes part.
    pub(crate) names: Vec<String>,
    /// Where the node accepts links of iroh peers.
    pub(crate) iroh_listen: Option<SocketAddr>,
    /// The iroh peers through which the node joins the topics.
    pub(crate) iroh_peers: Vec<IrohPeer>,
}

/// Applies the settings of the section. Returns the settings for the running node.
pub(super) fn gossip(
    section: GossipSection,
    config: &mut Config,
    place: &dyn Fn(&str) -> String,
) -> Result<Topics, Failure> {
    let refuse = |key: &str, what: String| Err(Failure::usage(format!("{}: {what}", place(key))));
    let mut core = GossipConfig::default().core;
    let number = |setting: Setting<NonZeroUsize>, default| setting.0.map_or(default, usize::from);
    let streams = config.max_inbound_streams;
    let max_topics = number(section.max_topics, core.max_topics.min(streams / 2));
    if max_topics > streams / 2 {
        let most = streams / 2;
        let what = format!(
            "a peer opens up to two streams per topic, and the node accepts {streams} streams per connection: write {most} or less, or a higher limits.max_inbound_streams"
        );
        return refuse("gossip.max_topics", what);
    }
    let size = number(section.max_message_size, core.max_message_size);
    if size > LONGEST_MESSAGE {
        let what = format!("{size} bytes are too many: write {LONGEST_MESSAGE} or less");
        return refuse("gossip.max_message_size", what);
    }
    let names = section.topics.0;
    if names.len() > max_topics {
        let count = names.len();
        let what = format!("{count} topics are more than gossip.max_topics, which is {max_topics}");
        return refuse("gossip.topics", what);
    }
    let neighbours = number(section.max_neighbours, core.membership.max_active);
    let membership = core.membership.clone().with_max_active(neighbours);
    let flood = section.flood.0.unwrap_or(core.broadcast.flood);
    let broadcast = core.broadcast.clone().with_flood(flood);
    core = core.with_max_topics(max_topics).with_max_message_size(size);
    core = core.with_membership(membership).with_broadcast(broadcast);
    *config = config
        .clone()
        .with_gossip(GossipConfig::default().with_core(core));
    let iroh_peers = iroh::parse(&place("gossip.iroh_peers"), &section.iroh_peers.0)?;
    if names.is_empty() && !iroh_peers.is_empty() {
        let what = "the node takes part in no topic: name one with --topic or gossip.topics";
        return refuse("gossip.iroh_peers", what.to_owned());
    }
    Ok(Topics {
        names,
        iroh_listen: section.iroh_listen.0,
        iroh_peers,
    })
}
