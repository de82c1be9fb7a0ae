//! The settings of topics: `[gossip]`.

use std::num::NonZeroUsize;

use node::{Config, GossipConfig};
use serde::Deserialize;

use super::forms::{List, Setting};
use crate::failure::Failure;

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
}

/// Applies the settings of the section. Returns the names of the topics.
pub(super) fn gossip(
    section: GossipSection,
    config: &mut Config,
    place: &dyn Fn(&str) -> String,
) -> Result<Vec<String>, Failure> {
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
    let topics = section.topics.0;
    if topics.len() > max_topics {
        let count = topics.len();
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
    Ok(topics)
}
