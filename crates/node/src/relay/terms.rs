//! A relay's terms by name, as a file, a flag or a request says them.

use std::time::Duration;

use relay_slots::{Caps, Rate, Rates, TableConfig};
use serde::{Deserialize, Serialize};

/// What may be said of a relay's terms, each by its name; what is not said stays as it is. See [`Caps`] and [`TableConfig`] for
/// what each means. Of a duration or an amount that may be without end, 0 is without end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct RelayTerms {
    pub slots: Option<usize>,
    pub slots_per_peer: Option<usize>,
    pub slots_per_ipv4: Option<usize>,
    pub slots_per_ipv4_24: Option<usize>,
    pub slots_per_ipv6_64: Option<usize>,
    pub slots_per_ipv6_56: Option<usize>,
    pub slots_per_ipv6_48: Option<usize>,
    pub slots_per_asn: Option<usize>,
    pub circuits: Option<usize>,
    pub circuits_to_peer: Option<usize>,
    pub circuits_from_peer: Option<usize>,
    pub circuits_from_subnet_to_peer: Option<usize>,
    pub exempt_private: Option<bool>,
    pub reserve_of_peer: Option<RateTerm>,
    pub reserve_of_subnet: Option<RateTerm>,
    pub connect_of_peer: Option<RateTerm>,
    pub connect_of_subnet: Option<RateTerm>,
    pub ttl_s: Option<f64>,
    pub grace_s: Option<f64>,
    pub heartbeat_s: Option<f64>,
    pub answer_s: Option<f64>,
    pub opening_s: Option<f64>,
    pub circuit_duration_s: Option<f64>,
    pub circuit_data: Option<u64>,
    pub max_buckets: Option<usize>,
}

/// So many at once, and then one more every so many seconds; 0 seconds is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u32, f64)", into = "(u32, f64)")]
#[allow(missing_docs, reason = "each is what its type says")]
pub struct RateTerm {
    pub burst: u32,
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

impl RateTerm {
    fn of(rate: Option<Rate>) -> Self {
        rate.map_or((0, 0.0), |rate| (rate.burst, rate.every.as_secs_f64()))
            .into()
    }

    fn rate(self, name: &'static str) -> Result<Option<Rate>, TermsError> {
        let every = endless(name, Some(self.every_s), None)?;
        Ok(every.map(|every| Rate::new(self.burst, every)))
    }
}

/// A value that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: {value} is not a number of seconds from {least} to 86400")]
#[non_exhaustive]
pub struct TermsError {
    /// Which one.
    pub name: &'static str,
    /// What was said.
    pub value: f64,
    /// What is the least.
    pub least: f64,
}

impl RelayTerms {
    /// Puts what is said in the place of what is there.
    ///
    /// # Errors
    ///
    /// A value cannot be. Nothing is changed then.
    pub fn apply(&self, caps: &mut Caps, table: &mut TableConfig) -> Result<(), TermsError> {
        let mut terms = table.clone();
        terms.ttl = time("ttl_s", self.ttl_s, terms.ttl, 1.0)?;
        terms.grace = time("grace_s", self.grace_s, terms.grace, 0.0)?;
        terms.answer = time("answer_s", self.answer_s, terms.answer, 0.001)?;
        terms.opening = time("opening_s", self.opening_s, terms.opening, 0.001)?;
        terms.heartbeat = endless("heartbeat_s", self.heartbeat_s, terms.heartbeat)?;
        let (name, said) = ("circuit_duration_s", self.circuit_duration_s);
        terms.circuit_duration = endless(name, said, terms.circuit_duration)?;
        if let Some(data) = self.circuit_data {
            terms.circuit_data = (data > 0).then_some(data);
        }
        terms.max_buckets = self.max_buckets.unwrap_or(terms.max_buckets);
        (*table, caps.rates) = (terms, self.rates(caps.rates)?);
        for (said, place) in [
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
            *place = said.unwrap_or(*place);
        }
        caps.exempt_private = self.exempt_private.unwrap_or(caps.exempt_private);
        Ok(())
    }

    fn rates(&self, mut rates: Rates) -> Result<Rates, TermsError> {
        let terms = [
            ("reserve_of_peer", self.reserve_of_peer),
            ("reserve_of_subnet", self.reserve_of_subnet),
            ("connect_of_peer", self.connect_of_peer),
            ("connect_of_subnet", self.connect_of_subnet),
        ];
        let places = [
            &mut rates.reserve_of_peer,
            &mut rates.reserve_of_subnet,
            &mut rates.connect_of_peer,
            &mut rates.connect_of_subnet,
        ];
        for ((name, said), place) in terms.into_iter().zip(places) {
            if let Some(said) = said {
                *place = said.rate(name)?;
            }
        }
        Ok(rates)
    }

    /// Everything as it is.
    pub fn of(caps: &Caps, table: &TableConfig) -> Self {
        let seconds = |time: Duration| Some(time.as_secs_f64());
        let rate = |rate: Option<Rate>| Some(RateTerm::of(rate));
        let or_zero = |time: Option<Duration>| Some(time.map_or(0.0, |time| time.as_secs_f64()));
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
}

fn time(
    name: &'static str,
    said: Option<f64>,
    kept: Duration,
    least: f64,
) -> Result<Duration, TermsError> {
    match said {
        None => Ok(kept),
        Some(value) if (least..=86_400.0).contains(&value) => Ok(Duration::from_secs_f64(value)),
        Some(value) => Err(TermsError { name, value, least }),
    }
}

fn endless(
    name: &'static str,
    said: Option<f64>,
    kept: Option<Duration>,
) -> Result<Option<Duration>, TermsError> {
    let time = time(name, said, kept.unwrap_or_default(), 0.0)?;
    Ok(Some(time).filter(|time| !time.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_replaces_what_is_there_and_all_of_it_can_be_said_again() {
        let (mut caps, mut table) = (Caps::default(), TableConfig::default());
        let said = RelayTerms {
            slots: Some(7),
            heartbeat_s: Some(0.0),
            circuit_data: Some(0),
            connect_of_peer: Some((3, 0.5).into()),
            reserve_of_subnet: Some((9, 0.0).into()),
            ..RelayTerms::default()
        };
        said.apply(&mut caps, &mut table).unwrap();
        assert_eq!(
            (caps.slots, table.heartbeat, table.circuit_data),
            (7, None, None)
        );
        assert_eq!(caps.circuits, Caps::default().circuits);
        let half_a_second = Rate::new(3, Duration::from_millis(500));
        assert_eq!(caps.rates.connect_of_peer, Some(half_a_second));
        assert_eq!(caps.rates.reserve_of_subnet, None);

        let (mut same, mut terms) = (Caps::default(), TableConfig::default());
        RelayTerms::of(&caps, &table)
            .apply(&mut same, &mut terms)
            .unwrap();
        assert_eq!((same, terms), (caps, table));
    }

    #[test]
    fn a_value_that_cannot_be_is_named_and_changes_nothing() {
        let (mut caps, mut table) = (Caps::default(), TableConfig::default());
        for value in [0.0, -1.0, f64::NAN, 1e9] {
            let said = RelayTerms {
                slots: Some(7),
                ttl_s: Some(value),
                ..RelayTerms::default()
            };
            let error = said.apply(&mut caps, &mut table).unwrap_err();
            assert!(error.to_string().starts_with("ttl_s: "), "{error}");
            assert_eq!((&caps, &table), (&Caps::default(), &TableConfig::default()));
        }
    }
}
