//! The terms of a relay by name, as in a file, a flag or an HTTP request.

use std::time::Duration;

use crate::{
    admission::{Caps, Rate, Rates},
    config::TableConfig,
};

/// The longest duration, in seconds: one day.
const MAX_SECONDS: f64 = 86_400.0;

/// The terms of a relay: the fields of [`Caps`] and [`TableConfig`], each by its name. A term that is `None` stays as it is.
///
/// Durations are in seconds and at most 86,400 (one day). With the feature `serde`, the names of the fields are the names in
/// JSON or TOML, and an unknown name is an error.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields, default)
)]
#[non_exhaustive]
pub struct Terms {
    /// [`Caps::slots`]
    pub slots: Option<usize>,
    /// [`Caps::slots_per_peer`]
    pub slots_per_peer: Option<usize>,
    /// [`Caps::slots_per_ipv4`]
    pub slots_per_ipv4: Option<usize>,
    /// [`Caps::slots_per_ipv4_24`]
    pub slots_per_ipv4_24: Option<usize>,
    /// [`Caps::slots_per_ipv6_64`]
    pub slots_per_ipv6_64: Option<usize>,
    /// [`Caps::slots_per_ipv6_56`]
    pub slots_per_ipv6_56: Option<usize>,
    /// [`Caps::slots_per_ipv6_48`]
    pub slots_per_ipv6_48: Option<usize>,
    /// [`Caps::slots_per_asn`]
    pub slots_per_asn: Option<usize>,
    /// [`Caps::circuits`]
    pub circuits: Option<usize>,
    /// [`Caps::circuits_to_peer`]
    pub circuits_to_peer: Option<usize>,
    /// [`Caps::circuits_from_peer`]
    pub circuits_from_peer: Option<usize>,
    /// [`Caps::circuits_from_subnet_to_peer`]
    pub circuits_from_subnet_to_peer: Option<usize>,
    /// [`Caps::exempt_private`]
    pub exempt_private: Option<bool>,
    /// [`Rates::reserve_of_peer`]
    pub reserve_of_peer: Option<RateTerm>,
    /// [`Rates::reserve_of_subnet`]
    pub reserve_of_subnet: Option<RateTerm>,
    /// [`Rates::renew_of_peer`]
    pub renew_of_peer: Option<RateTerm>,
    /// [`Rates::connect_of_peer`]
    pub connect_of_peer: Option<RateTerm>,
    /// [`Rates::connect_of_subnet`]
    pub connect_of_subnet: Option<RateTerm>,
    /// [`TableConfig::ttl`], at least 1 s.
    pub ttl_s: Option<f64>,
    /// [`TableConfig::grace`]
    pub grace_s: Option<f64>,
    /// [`TableConfig::heartbeat`]. 0: no probes.
    pub heartbeat_s: Option<f64>,
    /// [`TableConfig::answer`], at least 1 ms.
    pub answer_s: Option<f64>,
    /// [`TableConfig::opening`], at least 1 ms.
    pub opening_s: Option<f64>,
    /// [`TableConfig::circuit_duration`]. 0: unlimited.
    pub circuit_duration_s: Option<f64>,
    /// [`TableConfig::circuit_data`] in bytes. 0: unlimited.
    pub circuit_data: Option<u64>,
    /// [`TableConfig::max_buckets`]
    pub max_buckets: Option<usize>,
}

/// A [`Rate`] as a term. With the feature `serde`, it is the pair `[burst, every_s]`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "(u32, f64)", into = "(u32, f64)")
)]
pub struct RateTerm {
    /// Requests at once.
    pub burst: u32,
    /// Seconds until one more request may follow, at most 86,400. 0: no limit on the rate.
    pub every_s: f64,
}

impl From<(u32, f64)> for RateTerm {
    fn from((burst, every_s): (u32, f64)) -> Self {
        Self { burst, every_s }
    }
}

impl From<RateTerm> for (u32, f64) {
    fn from(term: RateTerm) -> Self {
        (term.burst, term.every_s)
    }
}

impl From<Option<Rate>> for RateTerm {
    fn from(rate: Option<Rate>) -> Self {
        let term = rate.map_or((0, 0.0), |rate| (rate.burst, rate.every.as_secs_f64()));
        term.into()
    }
}

/// A term is out of its bounds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: {value} is not a number of seconds from {least} to {MAX_SECONDS}")]
#[non_exhaustive]
pub struct TermsError {
    /// The name of the term.
    pub name: &'static str,
    /// The value that was given.
    pub value: f64,
    /// The least value that is allowed.
    pub least: f64,
}

impl Terms {
    /// All terms of a relay.
    pub fn of(caps: &Caps, table: &TableConfig) -> Self {
        let seconds = |time: Duration| Some(time.as_secs_f64());
        let rate = |rate: Option<Rate>| Some(RateTerm::from(rate));
        let or_zero = |time: Option<Duration>| seconds(time.unwrap_or_default());
        Self {
            slots: Some(caps.slots),
            slots_per_peer: Some(caps.slots_per_peer),
            slots_per_ipv4: Some(caps.slots_per_ipv4),
            slots_per_ipv4_24: Some(caps.slots_per_ipv4_24),
            slots_per_ipv6_64: Some(caps.slots_per_ipv6_64),
            slots_per_ipv6_56: Some(caps.slots_per_ipv6_56),
            slots_per_ipv6_48: Some(caps.slots_per_ipv6_48),
            slots_per_asn: Some(caps.slots_per_asn),
            circuits: Some(caps.circuits),
            circuits_to_peer: Some(caps.circuits_to_peer),
            circuits_from_peer: Some(caps.circuits_from_peer),
            circuits_from_subnet_to_peer: Some(caps.circuits_from_subnet_to_peer),
            exempt_private: Some(caps.exempt_private),
            reserve_of_peer: rate(caps.rates.reserve_of_peer),
            reserve_of_subnet: rate(caps.rates.reserve_of_subnet),
            renew_of_peer: rate(caps.rates.renew_of_peer),
            connect_of_peer: rate(caps.rates.connect_of_peer),
            connect_of_subnet: rate(caps.rates.connect_of_subnet),
            ttl_s: seconds(table.ttl),
            grace_s: seconds(table.grace),
            heartbeat_s: or_zero(table.heartbeat),
            answer_s: seconds(table.answer),
            opening_s: seconds(table.opening),
            circuit_duration_s: or_zero(table.circuit_duration),
            circuit_data: Some(table.circuit_data.unwrap_or(0)),
            max_buckets: Some(table.max_buckets),
        }
    }

    /// Replaces the caps and durations that these terms name.
    ///
    /// # Errors
    ///
    /// A term is out of its bounds. In this case nothing changes.
    pub fn apply(&self, caps: &mut Caps, table: &mut TableConfig) -> Result<(), TermsError> {
        (*table, caps.rates) = (self.table(table)?, self.rates(caps.rates)?);
        for (given, place) in [
            (self.slots, &mut caps.slots),
            (self.slots_per_peer, &mut caps.slots_per_peer),
            (self.slots_per_ipv4, &mut caps.slots_per_ipv4),
            (self.slots_per_ipv4_24, &mut caps.slots_per_ipv4_24),
            (self.slots_per_ipv6_64, &mut caps.slots_per_ipv6_64),
            (self.slots_per_ipv6_56, &mut caps.slots_per_ipv6_56),
            (self.slots_per_ipv6_48, &mut caps.slots_per_ipv6_48),
            (self.slots_per_asn, &mut caps.slots_per_asn),
            (self.circuits, &mut caps.circuits),
            (self.circuits_to_peer, &mut caps.circuits_to_peer),
            (self.circuits_from_peer, &mut caps.circuits_from_peer),
            (
                self.circuits_from_subnet_to_peer,
                &mut caps.circuits_from_subnet_to_peer,
            ),
        ] {
            *place = given.unwrap_or(*place);
        }
        caps.exempt_private = self.exempt_private.unwrap_or(caps.exempt_private);
        Ok(())
    }

    fn table(&self, now: &TableConfig) -> Result<TableConfig, TermsError> {
        let (name, given) = ("circuit_duration_s", self.circuit_duration_s);
        let data = self.circuit_data.map(|data| (data > 0).then_some(data));
        Ok(TableConfig {
            ttl: seconds("ttl_s", self.ttl_s, now.ttl, 1.0)?,
            grace: seconds("grace_s", self.grace_s, now.grace, 0.0)?,
            heartbeat: or_none("heartbeat_s", self.heartbeat_s, now.heartbeat)?,
            answer: seconds("answer_s", self.answer_s, now.answer, 0.001)?,
            opening: seconds("opening_s", self.opening_s, now.opening, 0.001)?,
            circuit_duration: or_none(name, given, now.circuit_duration)?,
            circuit_data: data.unwrap_or(now.circuit_data),
            max_buckets: self.max_buckets.unwrap_or(now.max_buckets),
        })
    }

    fn rates(&self, now: Rates) -> Result<Rates, TermsError> {
        let rate = |name, given: Option<RateTerm>, now: Option<Rate>| match given {
            None => Ok(now),
            Some(given) => {
                let every = or_none(name, Some(given.every_s), None)?;
                Ok(every.map(|every| Rate::new(given.burst, every)))
            }
        };
        let [reserve, connect] = [self.reserve_of_subnet, self.connect_of_subnet];
        Ok(Rates {
            reserve_of_peer: rate("reserve_of_peer", self.reserve_of_peer, now.reserve_of_peer)?,
            reserve_of_subnet: rate("reserve_of_subnet", reserve, now.reserve_of_subnet)?,
            renew_of_peer: rate("renew_of_peer", self.renew_of_peer, now.renew_of_peer)?,
            connect_of_peer: rate("connect_of_peer", self.connect_of_peer, now.connect_of_peer)?,
            connect_of_subnet: rate("connect_of_subnet", connect, now.connect_of_subnet)?,
        })
    }
}

fn seconds(
    name: &'static str,
    given: Option<f64>,
    now: Duration,
    least: f64,
) -> Result<Duration, TermsError> {
    match given {
        None => Ok(now),
        Some(value) if (least..=MAX_SECONDS).contains(&value) => Ok(Duration::from_secs_f64(value)),
        Some(value) => Err(TermsError { name, value, least }),
    }
}

/// A term of which 0 means `None`.
fn or_none(
    name: &'static str,
    given: Option<f64>,
    now: Option<Duration>,
) -> Result<Option<Duration>, TermsError> {
    let time = seconds(name, given, now.unwrap_or_default(), 0.0)?;
    Ok(Some(time).filter(|time| !time.is_zero()))
}

#[cfg(test)]
mod tests;
