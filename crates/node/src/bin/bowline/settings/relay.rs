//! The settings of relays: `[relay]`.

use node::{RelayConfig, RelayServerConfig, multiaddr::Protocol, relay_slots::Terms};
use serde::Deserialize;

use super::{
    forms::{List, Setting},
    multiaddrs, seconds,
};
use crate::failure::Failure;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RelaySection {
    server: Setting<bool>,
    reserve_at: List<','>,
    reservations: Setting<usize>,
    auto: Setting<usize>,
    min_ttl_s: Setting<f64>,
    terms: Terms,
}

/// The configuration of relaying.
pub(super) fn relay(
    section: RelaySection,
    place: &dyn Fn(&str) -> String,
) -> Result<RelayConfig, Failure> {
    let mut server = RelayServerConfig::default();
    let applied = section.terms.apply(&mut server.caps, &mut server.table);
    applied.map_err(|error| {
        let text = error.to_string();
        let (term, what) = text.split_once(": ").unwrap_or((&text, "is wrong"));
        Failure::usage(format!("{}: {what}", place(&format!("relay.terms.{term}"))))
    })?;
    let relays = multiaddrs(&place("relay.reserve_at"), section.reserve_at)?;
    for relay in &relays {
        let named = matches!(relay.iter().last(), Some(Protocol::P2p(_)));
        let what = match named {
            true if relay.iter().count() > 1 => continue,
            true => "has no address in front of the relay's /p2p/ID",
            false => "must end with the relay's /p2p/ID",
        };
        let wrong = format!("{}: '{relay}' {what}", place("relay.reserve_at"));
        return Err(Failure::usage(wrong));
    }
    let mut config = RelayConfig::default().with_reserve_at(relays);
    let mut client = config.client.clone();
    let least = seconds(
        &place("relay.min_ttl_s"),
        section.min_ttl_s.0,
        client.min_ttl,
    )?;
    client = client.with_min_ttl(least);
    if let Some(reservations) = section.reservations.0 {
        client = client.with_reservations(reservations);
    }
    if let Some(auto) = section.auto.0 {
        client = client.with_auto(auto);
    }
    config = config.with_client(client);
    Ok(match section.server.0.unwrap_or(false) {
        true => config.with_server(server),
        false => config,
    })
}
