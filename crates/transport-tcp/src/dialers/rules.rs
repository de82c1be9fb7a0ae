//! Chooses a dialer for each target by rules.

use std::{fmt, net::IpAddr, ops::RangeInclusive, sync::Arc};

use ipnet::IpNet;

use crate::{ByteStream, DialContext, DialError, DialStage, Dialer, Host, PeerId, Target};

/// A kind of host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HostKind {
    /// An IPv4 address, in any notation.
    Ip4,
    /// An IPv6 address that is not an IPv4-mapped one.
    Ip6,
    /// A name that is not an onion service.
    Dns,
    /// An onion service.
    Onion,
}

impl HostKind {
    fn of(target: &Target) -> Self {
        match target.ip() {
            Some(IpAddr::V4(_)) => Self::Ip4,
            Some(IpAddr::V6(_)) => Self::Ip6,
            None if target.is_onion() => Self::Onion,
            None => Self::Dns,
        }
    }
}

/// Matches the targets of a rule. A target must meet every condition. A condition with several values is met if one of
/// the values matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    pub(crate) networks: Vec<IpNet>,
    pub(crate) suffixes: Vec<String>,
    pub(crate) kinds: Vec<HostKind>,
    pub(crate) ports: Vec<RangeInclusive<u16>>,
    pub(crate) peers: Vec<PeerId>,
}

impl Matcher {
    /// Every target.
    pub fn any() -> Self {
        Self::default()
    }

    /// Addresses in this network. A host name never matches, because rules do not resolve names. An IP address that is
    /// written as a host name, or as an IPv4-mapped IPv6 address, counts as that IP address.
    pub fn cidr(mut self, network: IpNet) -> Self {
        self.networks.push(network);
        self
    }

    /// This name and its subdomains, without regard to case. `example.com` and `.example.com` are the same.
    pub fn suffix(mut self, suffix: &str) -> Self {
        self.suffixes.push(normal(suffix));
        self
    }

    /// Hosts of this kind.
    pub fn kind(mut self, kind: HostKind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// These ports.
    pub fn ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ports.push(ports);
        self
    }

    /// Targets that name this peer.
    pub fn peer(mut self, peer: PeerId) -> Self {
        self.peers.push(peer);
        self
    }

    /// Whether `target` meets every condition.
    pub fn matches(&self, target: &Target) -> bool {
        let ip = target.ip();
        meets(&self.networks, |net| ip.is_some_and(|ip| net.contains(&ip)))
            && meets(&self.suffixes, |suffix| is_below(target, suffix))
            && meets(&self.kinds, |kind| *kind == HostKind::of(target))
            && meets(&self.ports, |ports| ports.contains(&target.port()))
            && meets(&self.peers, |peer| target.peer() == Some(*peer))
    }
}

fn meets<T>(values: &[T], met: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(met)
}

fn is_below(target: &Target, suffix: &str) -> bool {
    if matches!(target.host(), Host::Ip(_) | Host::Ip6Zone { .. }) {
        return false;
    }
    let name = normal(&target.host_name());
    match name.strip_suffix(suffix) {
        Some(rest) => rest.is_empty() || rest.ends_with('.') || suffix.is_empty(),
        None => false,
    }
}

/// In lower case, without the root's dot at the end or a dot at the beginning.
fn normal(name: &str) -> String {
    name.trim_matches('.').to_ascii_lowercase()
}

/// Dials each target by the first rule that matches it, and refuses a target that no rule matches.
///
/// To dial all other targets, end with a rule for [`Matcher::any`]. Each dial walks over the rules.
///
/// The records of a `/dnsaddr` name are followed only to targets that the rules dial directly, or by the rule of the name itself.
#[derive(Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone)]
struct Rule {
    label: Arc<str>,
    matcher: Matcher,
    /// None: refuse.
    dialer: Option<Arc<dyn Dialer>>,
}

impl Rules {
    /// No rules: every target is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule: targets that match are dialed by `dialer`. `label` names the rule in logs.
    pub fn via(mut self, label: &str, matcher: Matcher, dialer: impl Dialer + 'static) -> Self {
        self.rules.push(Rule {
            label: label.into(),
            matcher,
            dialer: Some(Arc::new(dialer)),
        });
        self
    }

    /// Adds a rule: targets that match are refused. `label` names the rule in the error.
    pub fn refuse(mut self, label: &str, matcher: Matcher) -> Self {
        self.rules.push(Rule {
            label: label.into(),
            matcher,
            dialer: None,
        });
        self
    }

    fn find(&self, target: &Target) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matcher.matches(target))
    }

    /// Whether a dial by `route` may follow a record to this target.
    fn follows(&self, route: &Arc<dyn Dialer>, record: &Target) -> bool {
        let dialer = self.find(record).and_then(|rule| rule.dialer.as_ref());
        dialer.is_some_and(|dialer| Arc::ptr_eq(dialer, route) || dialer.is_direct(record))
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.rules.iter().map(|rule| &rule.label);
        f.debug_list().entries(labels).finish()
    }
}

#[async_trait::async_trait]
impl Dialer for Rules {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        cx.enter(DialStage::Choose);
        let Some(rule) = self.find(target) else {
            return Err(DialError::NoRule(target.to_multiaddr()));
        };
        tracing::trace!(attempt = cx.attempt, rule = &*rule.label, "rule chosen");
        match &rule.dialer {
            Some(dialer) if matches!(target.host(), Host::DnsAddr(_)) => {
                let (rules, route) = (self.clone(), Arc::clone(dialer));
                let follows = move |record: &Target| rules.follows(&route, record);
                dialer.dial(target, &cx.clone().following(follows)).await
            }
            Some(dialer) => dialer.dial(target, cx).await,
            None => Err(DialError::Refused {
                address: target.to_multiaddr(),
                rule: Arc::clone(&rule.label),
            }),
        }
    }

    /// Whether the dialer of the rule for `target` is direct.
    fn is_direct(&self, target: &Target) -> bool {
        let dialer = self.find(target).and_then(|rule| rule.dialer.as_ref());
        dialer.is_some_and(|dialer| dialer.is_direct(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str) -> Target {
        address.parse().unwrap()
    }

    fn network(text: &str) -> Matcher {
        Matcher::any().cidr(text.parse().unwrap())
    }

    #[test]
    fn a_network_holds_its_addresses_in_every_notation_and_no_names() {
        let ten = network("10.0.0.0/8");
        assert!(ten.matches(&target("/ip4/10.255.0.1/tcp/1")));
        assert!(!ten.matches(&target("/ip4/11.0.0.1/tcp/1")));
        assert!(ten.matches(&target("/ip6/::ffff:10.1.2.3/tcp/1")));
        assert!(ten.matches(&target("/dns4/10.1.2.3/tcp/1")));
        assert!(ten.matches(&target("/dns4/10.1.2.3./tcp/1")));
        assert!(!ten.matches(&target("/dns4/ten.example/tcp/1")));
        assert!(network("fd00::/8").matches(&target("/ip6/fd00::1/tcp/1")));
        assert!(!network("::/0").matches(&target("/ip4/10.0.0.1/tcp/1")));
    }

    #[test]
    fn a_suffix_ends_at_a_label_whatever_the_case_and_the_dots() {
        for suffix in ["example.com", ".example.com", "Example.COM."] {
            let matcher = Matcher::any().suffix(suffix);
            for name in [
                "example.com",
                "a.example.com",
                "A.B.EXAMPLE.com",
                "example.com.",
            ] {
                assert!(
                    matcher.matches(&target(&format!("/dns/{name}/tcp/1"))),
                    "{name}"
                );
            }
            for name in ["badexample.com", "example.com.evil", "com"] {
                assert!(
                    !matcher.matches(&target(&format!("/dns/{name}/tcp/1"))),
                    "{name}"
                );
            }
        }
        let onion = Matcher::any().suffix(".onion");
        let hash = "a".repeat(56);
        assert!(onion.matches(&target(&format!("/onion3/{hash}:80"))));
        assert!(onion.matches(&target("/dns/a.ONION./tcp/1")));
        assert!(!onion.matches(&target("/ip4/10.0.0.1/tcp/1")));
    }

    #[test]
    fn kinds_go_by_what_is_meant() {
        let hash = "a".repeat(56);
        for (address, kind) in [
            ("/ip4/10.0.0.1/tcp/1", HostKind::Ip4),
            ("/ip6/::ffff:10.0.0.1/tcp/1", HostKind::Ip4),
            ("/dns/10.0.0.1/tcp/1", HostKind::Ip4),
            ("/ip6/::1/tcp/1", HostKind::Ip6),
            ("/dns6/a.example/tcp/1", HostKind::Dns),
            ("/dnsaddr/a.example", HostKind::Dns),
            ("/dns4/a.onion/tcp/1", HostKind::Onion),
            (&format!("/onion3/{hash}:1"), HostKind::Onion),
        ] {
            assert_eq!(HostKind::of(&target(address)), kind, "{address}");
        }
    }

    #[test]
    fn all_conditions_must_be_met_and_one_value_of_each_is_enough() {
        let id = PeerId::random();
        let matcher = network("10.0.0.0/8")
            .ports(80..=90)
            .ports(443..=443)
            .peer(id);
        let at = |host: &str, port| target(&format!("/ip4/{host}/tcp/{port}/p2p/{id}"));
        assert!(matcher.matches(&at("10.0.0.1", 80)));
        assert!(matcher.matches(&at("10.0.0.1", 443)));
        assert!(!matcher.matches(&at("10.0.0.1", 91)));
        assert!(!matcher.matches(&at("11.0.0.1", 80)));
        assert!(
            !matcher.matches(&target("/ip4/10.0.0.1/tcp/80")),
            "no peer is named"
        );
        assert!(Matcher::any().matches(&target("/ip4/10.0.0.1/tcp/80")));
    }

    #[tokio::test]
    async fn the_first_rule_wins_a_refusal_names_it_and_what_none_is_for_is_refused() {
        let cx = DialContext::new(tokio::time::Instant::now() + std::time::Duration::from_secs(1));
        let unreachable =
            |target: Target, _| async move { Err(DialError::NoAddress(target.to_multiaddr())) };
        let rules = Rules::new()
            .refuse("ten", network("10.0.0.0/8"))
            .via("eleven", network("11.0.0.0/8"), crate::Direct::default())
            .via("low", network("0.0.0.0/1"), unreachable);
        let dial = async |text: &str| rules.dial(&target(text), &cx).await.unwrap_err();
        let refused = dial("/ip4/10.0.0.1/tcp/1").await;
        assert!(matches!(&refused, DialError::Refused { rule, .. } if &**rule == "ten"));
        assert!(matches!(
            dial("/ip4/12.0.0.1/tcp/1").await,
            DialError::NoAddress(_)
        ));
        assert!(matches!(
            dial("/ip4/200.0.0.1/tcp/1").await,
            DialError::NoRule(_)
        ));
        let direct = |text: &str| rules.is_direct(&target(text));
        assert!(direct("/ip4/11.0.0.1/tcp/1"));
        assert!(!direct("/ip4/10.0.0.1/tcp/1"));
        assert!(
            !direct("/ip4/12.0.0.1/tcp/1"),
            "a closure may lead anywhere"
        );
        assert!(!direct("/ip4/200.0.0.1/tcp/1"));
    }
}
