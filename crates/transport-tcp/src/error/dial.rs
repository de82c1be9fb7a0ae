//! The error of a dial: the stage, the proxy, and what may help.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use multiaddr::Multiaddr;

use super::{ResolveError, chain::Chain, stage::DialStage};

/// The part that is at fault when a dial fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The target. Another route would fail in the same way. The same route may work later.
    Target,
    /// The route: a proxy or an uplink that is down, slow or broken. Another route may work now, and the same route may
    /// work later.
    Route,
    /// The route's configuration: wrong credentials, or a kind of target that it does not serve. Another route may work.
    Setup,
    /// A rule that refuses the target. A later dial and another route must not bypass the rule.
    Policy,
}

/// One socket address that a dial has tried without success, with the cause.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// The cause. Its text begins with the step that failed.
    pub error: io::Error,
}

/// The error of a dial that opened no byte stream.
///
/// A message with several causes lists all of them. Otherwise `source()` returns the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// A rule refuses the target.
    #[error("{address}: refused by the rule `{rule}`")]
    Refused {
        /// The target.
        address: Multiaddr,
        /// The rule.
        rule: Arc<str>,
    },
    /// No rule matches the target.
    #[error("{0}: no rule matches this address")]
    NoRule(Multiaddr),
    /// This dialer cannot reach this kind of host.
    #[error("{address}: this dialer cannot reach {host}")]
    Unsupported {
        /// The target.
        address: Multiaddr,
        /// The kind of host.
        host: &'static str,
    },
    /// The target has a host name, and the dialer was configured without a resolver.
    #[error("{0}: a host name, and this dialer has no resolver")]
    NoResolver(Multiaddr),
    /// The name was not resolved.
    #[error("{address}: the name did not resolve")]
    Resolve {
        /// The target.
        address: Multiaddr,
        /// The resolver's error.
        source: ResolveError,
    },
    /// The name has no address that can be dialed over TCP.
    #[error("{0}: resolved to no TCP address")]
    NoAddress(Multiaddr),
    /// Every record of the `/dnsaddr` name leads to a target that this route must not dial: see
    /// [`DialContext::following`](crate::DialContext::following).
    #[error("{0}: the rules refuse its records, or do not dial them directly")]
    NotFollowed(Multiaddr),
    /// The dial had made all connects of its [`ConnectBudget`](crate::ConnectBudget) before it reached this target.
    #[error("{0}: not tried, because the dial has reached its limit of connects")]
    NoConnects(Multiaddr),
    /// The deadline passed while names were being resolved or addresses tried.
    #[error("{address}: timed out while {stage}{}", Tried(.tried))]
    TimedOut {
        /// The target.
        address: Multiaddr,
        /// What the dial was doing.
        stage: DialStage,
        /// The addresses that had failed before, at most one per connect of the dial. The message names the first 8.
        tried: Vec<Attempt>,
    },
    /// Every address failed.
    #[error("{address}: no address accepted the connection{}", Tried(.tried))]
    Failed {
        /// The target.
        address: Multiaddr,
        /// Each address and its cause, at most one per connect of the dial. The message names the first 8.
        tried: Vec<Attempt>,
    },
    /// A proxy did not connect to the target.
    #[error("{address}: via {proxy}: {stage}")]
    Proxy {
        /// The target.
        address: Multiaddr,
        /// The proxy, without credentials.
        proxy: Arc<str>,
        /// The stage that the dial reached.
        stage: DialStage,
        /// What went wrong with the proxy.
        source: ProxyError,
    },
    /// Every route failed.
    #[error("{address}: every route failed{}", Routes(.routes))]
    NoRoute {
        /// The target.
        address: Multiaddr,
        /// The error of each route, in the order in which the routes were tried.
        routes: Vec<DialError>,
    },
    /// The last of several attempts failed.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// The number of attempts.
        attempts: u32,
        /// The error of the last attempt.
        source: Box<DialError>,
    },
    /// A check of a dialer was not over in time.
    #[error("the check was not over in time: {stage}")]
    CheckTimedOut {
        /// What the dialer was doing.
        stage: DialStage,
    },
    /// The failure of a dialer that is not part of this crate. A refusal must be [`DialError::Refused`] instead,
    /// because any other error may lead to the next route.
    #[error("{address}: {stage}")]
    Other {
        /// The target.
        address: Multiaddr,
        /// What that dialer was doing.
        stage: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// Why a proxy did not connect to the target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The proxy could not be reached.
    #[error(transparent)]
    Unreachable(Box<DialError>),
    /// The proxy was silent until the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// The proxy closed the connection too early.
    #[error("it closed the connection")]
    Closed,
    /// The connection to the proxy broke.
    #[error(transparent)]
    Io(io::Error),
    /// The TLS handshake with the proxy failed.
    #[error(transparent)]
    Tls(io::Error),
    /// The proxy's answer does not follow the protocol.
    #[error("its answer does not follow the protocol: {0}")]
    Malformed(&'static str),
    /// The proxy's answer is too long.
    #[error("its answer is longer than {limit} bytes")]
    TooLong {
        /// The most bytes that are read.
        limit: usize,
    },
    /// The proxy asks for credentials, but none are configured, or for a method that this crate does not support.
    #[error("it asks for authentication that is not configured")]
    AuthenticationRequired,
    /// The proxy does not accept the credentials.
    #[error("it refuses the user or the password")]
    AuthenticationFailed,
    /// The proxy's own rules forbid the target.
    #[error("it does not allow this target")]
    NotAllowed,
    /// The proxy does not support this kind of request or address.
    #[error("it does not support this: {0}")]
    Unsupported(&'static str),
    /// The proxy could not connect to the target.
    #[error("it could not connect: {0}")]
    NotConnected(&'static str),
    /// The proxy answered with an HTTP status that is not a success.
    #[error("it answered with status {0}")]
    Status(u16),
}

impl ProxyError {
    fn fault(&self) -> Fault {
        match self {
            // What keeps this side from the proxy for good makes the route unusable.
            Self::Unreachable(error) => match error.fault() {
                Fault::Setup | Fault::Policy => Fault::Setup,
                Fault::Route | Fault::Target => Fault::Route,
            },
            Self::Tls(error) if is_certificate(error) => Fault::Setup,
            Self::TimedOut
            | Self::Closed
            | Self::Io(_)
            | Self::Tls(_)
            | Self::Malformed(_)
            | Self::TooLong { .. } => Fault::Route,
            Self::AuthenticationRequired
            | Self::AuthenticationFailed
            | Self::NotAllowed
            | Self::Unsupported(_) => Fault::Setup,
            Self::NotConnected(_) | Self::Status(_) => Fault::Target,
        }
    }

    /// An I/O error of a proxy's connection. An early end has a variant of its own.
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }

    /// An I/O error of a TLS handshake.
    pub(crate) fn from_tls(error: io::Error) -> Self {
        match Self::from_io(error) {
            Self::Io(error) => Self::Tls(error),
            closed => closed,
        }
    }
}

/// Whether the proxy's certificate was refused.
fn is_certificate(error: &io::Error) -> bool {
    let source = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(source, Some(rustls::Error::InvalidCertificate(_)))
        || error.kind() == io::ErrorKind::InvalidInput
}

impl DialError {
    /// The stage that the dial reached.
    pub fn stage(&self) -> DialStage {
        match self {
            Self::Refused { .. } | Self::NoRule(_) | Self::Unsupported { .. } => DialStage::Choose,
            Self::NoResolver(_)
            | Self::Resolve { .. }
            | Self::NoAddress(_)
            | Self::NotFollowed(_) => DialStage::Resolve,
            Self::Failed { .. } | Self::NoConnects(_) => DialStage::Connect,
            Self::TimedOut { stage, .. }
            | Self::CheckTimedOut { stage }
            | Self::Proxy { stage, .. } => *stage,
            Self::NoRoute { routes, .. } => {
                let stages = routes.iter().map(DialError::stage);
                stages.max().unwrap_or(DialStage::Choose)
            }
            Self::GaveUp { source, .. } => source.stage(),
            Self::Other { .. } => DialStage::Other,
        }
    }

    /// The part that is at fault.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused { .. } | Self::NoRule(_) | Self::NotFollowed(_) => Fault::Policy,
            Self::Unsupported { .. } | Self::NoResolver(_) => Fault::Setup,
            Self::Resolve { .. } | Self::NoAddress(_) | Self::NoConnects(_) => Fault::Target,
            Self::TimedOut { stage, .. } => match stage {
                DialStage::Resolve | DialStage::Connect | DialStage::Request => Fault::Target,
                _ => Fault::Route,
            },
            Self::CheckTimedOut { .. } => Fault::Route,
            Self::Failed { tried, .. } => match tried.iter().all(|attempt| is_ours(&attempt.error))
            {
                true => Fault::Route,
                false => Fault::Target,
            },
            // Once the proxy was asked for the target, either of them may be the silent one.
            Self::Proxy {
                stage: DialStage::Request,
                source: ProxyError::TimedOut,
                ..
            } => Fault::Target,
            Self::Proxy { source, .. } => source.fault(),
            Self::NoRoute { routes, .. } => {
                match routes.iter().any(|route| route.fault() != Fault::Setup) {
                    true => Fault::Route,
                    false => Fault::Setup,
                }
            }
            Self::Other { .. } => Fault::Route,
            Self::GaveUp { source, .. } => source.fault(),
        }
    }

    /// Whether the same dial may succeed later.
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::NoAddress(_) | Self::NoConnects(_) => false,
            Self::Resolve { source, .. } => source.is_temporary(),
            _ => matches!(self.fault(), Fault::Target | Fault::Route),
        }
    }
}

/// An attempt that failed before a packet was sent.
#[derive(Debug, thiserror::Error)]
#[error("{stage} failed")]
pub(crate) struct Unsent {
    pub(crate) stage: &'static str,
    pub(crate) source: io::Error,
}

/// Whether the uplink is at fault and not the target.
fn is_ours(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let unsent = error.get_ref().is_some_and(|error| error.is::<Unsent>());
    unsent
        || matches!(
            error.kind(),
            Kind::NetworkUnreachable | Kind::NetworkDown | Kind::AddrNotAvailable
        )
}

/// The number of attempts that a message names. The message counts the others.
const NAMED: usize = 8;

struct Tried<'a>(&'a [Attempt]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for attempt in self.0.iter().take(NAMED) {
            write!(f, "; {}: {}", attempt.address, Chain(&attempt.error))?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

struct Routes<'a>(&'a [DialError]);

impl fmt::Display for Routes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|error| write!(f, "; {}", Chain(error)))
    }
}
