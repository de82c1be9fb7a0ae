//! A dial that failed: where, through whom, and what may be done about it.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use multiaddr::Multiaddr;

use super::{ResolveError, chain::Chain};

/// How far a dial has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DialStage {
    /// Choosing the way.
    Choose,
    /// Resolving the name.
    Resolve,
    /// Connecting to the target itself.
    Connect,
    /// Connecting to a proxy.
    Reach,
    /// The TLS handshake with a proxy.
    Secure,
    /// A proxy's greeting and authentication.
    Greet,
    /// A proxy was asked for the target and has not answered.
    Request,
    /// Resting before the next attempt.
    Pause,
    /// Somewhere in a dialer that is not ours.
    Other,
}

impl DialStage {
    /// One lower-case word, for a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Choose => "choose",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Reach => "reach",
            Self::Secure => "secure",
            Self::Greet => "greet",
            Self::Request => "request",
            Self::Pause => "pause",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for DialStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Choose => "choosing the way",
            Self::Resolve => "resolving",
            Self::Connect => "connecting",
            Self::Reach => "connecting to the proxy",
            Self::Secure => "the tls handshake with the proxy",
            Self::Greet => "the proxy's greeting",
            Self::Request => "waiting for the proxy to connect",
            Self::Pause => "waiting to try again",
            Self::Other => "dialing",
        })
    }
}

/// Whose fault a failed dial is, and so what may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The target's. Another way leads to the same failure; the same way may do later.
    Target,
    /// The way's: a proxy or an uplink that is down, slow or broken. Another way may do, or the same later.
    Way,
    /// The way's, for good: wrong credentials, or a kind of target it does not serve. Another way may do.
    Setup,
    /// Nobody's: a rule says no. Neither time nor another way may change that.
    Policy,
}

/// One socket address that a dial tried, and what came of it.
#[derive(Debug)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// Why it failed: the stage is part of the text.
    pub error: io::Error,
}

/// A dial that brought about no byte stream.
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
    /// No rule is for the target, and there is none for the rest.
    #[error("{0}: no rule is for this address")]
    NoRule(Multiaddr),
    /// This dialer has no way to such a host.
    #[error("{address}: this dialer cannot reach {host}")]
    Unsupported {
        /// The target.
        address: Multiaddr,
        /// The kind of host.
        host: &'static str,
    },
    /// The target has a name and the dialer has no resolver.
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
    /// The name has no address that TCP can dial.
    #[error("{0}: resolved to no tcp address")]
    NoAddress(Multiaddr),
    /// The deadline passed while names were being resolved or addresses tried.
    #[error("{address}: timed out while {stage}{}", Tried(.tried))]
    TimedOut {
        /// The target.
        address: Multiaddr,
        /// What was going on.
        stage: DialStage,
        /// The addresses that had failed by then.
        tried: Vec<Attempt>,
    },
    /// Every address failed.
    #[error("{address}: no address answered{}", Tried(.tried))]
    Failed {
        /// The target.
        address: Multiaddr,
        /// Each address and its cause.
        tried: Vec<Attempt>,
    },
    /// A proxy did not bring it about.
    #[error("{address}: via {proxy}: {stage}")]
    Proxy {
        /// The target.
        address: Multiaddr,
        /// The proxy, without credentials.
        proxy: Arc<str>,
        /// How far it got.
        stage: DialStage,
        /// What the proxy did.
        source: ProxyError,
    },
    /// Every way failed.
    #[error("{address}: every way failed{}", Ways(.ways))]
    NoWay {
        /// The target.
        address: Multiaddr,
        /// What came of each.
        ways: Vec<DialError>,
    },
    /// The last of several attempts failed.
    #[error("gave up after {attempts} attempts")]
    GaveUp {
        /// How many there were.
        attempts: u32,
        /// The last one's failure.
        source: Box<DialError>,
    },
    /// A check of a dialer was not over in time.
    #[error("the check was not over in time: {stage}")]
    CheckTimedOut {
        /// What the dialer was doing.
        stage: DialStage,
    },
    /// The failure of a dialer that is not part of this crate. A dialer that refuses a target says
    /// [`DialError::Refused`] instead: any other failure may lead to the next route.
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

/// What a proxy did instead of connecting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It could not be reached.
    #[error(transparent)]
    Unreachable(Box<DialError>),
    /// It was silent until the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// It hung up in the middle.
    #[error("it closed the connection")]
    Closed,
    /// The connection to it broke.
    #[error(transparent)]
    Io(io::Error),
    /// The TLS handshake with it failed.
    #[error(transparent)]
    Tls(io::Error),
    /// What it says is not its protocol.
    #[error("not the answer of such a proxy: {0}")]
    Malformed(&'static str),
    /// Its answer does not end.
    #[error("its answer is longer than {limit} bytes")]
    TooLong {
        /// How much is read.
        limit: usize,
    },
    /// It wants credentials and none are configured, or an authentication that we do not speak.
    #[error("it asks for an authentication that is not configured")]
    AuthenticationRequired,
    /// It does not accept the credentials.
    #[error("authentication failed: it refuses the user or the password")]
    AuthenticationFailed,
    /// Its own rules forbid the target.
    #[error("it does not allow this target")]
    NotAllowed,
    /// It does not serve this kind of request or address.
    #[error("it does not support this: {0}")]
    Unsupported(&'static str),
    /// It could not connect to the target.
    #[error("it could not connect: {0}")]
    NotConnected(&'static str),
    /// An HTTP status that is no success.
    #[error("status {0}")]
    Status(u16),
}

impl ProxyError {
    fn fault(&self) -> Fault {
        match self {
            // What keeps us from the proxy for good makes it a way that is none.
            Self::Unreachable(error) => match error.fault() {
                Fault::Setup | Fault::Policy => Fault::Setup,
                Fault::Way | Fault::Target => Fault::Way,
            },
            Self::Tls(error) if is_certificate(error) => Fault::Setup,
            Self::TimedOut
            | Self::Closed
            | Self::Io(_)
            | Self::Tls(_)
            | Self::Malformed(_)
            | Self::TooLong { .. } => Fault::Way,
            Self::AuthenticationRequired
            | Self::AuthenticationFailed
            | Self::NotAllowed
            | Self::Unsupported(_) => Fault::Setup,
            Self::NotConnected(_) | Self::Status(_) => Fault::Target,
        }
    }

    /// An I/O error of a proxy's connection. An early end is a thing of its own.
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

/// Whether a proxy's certificate is not the one that was asked for.
fn is_certificate(error: &io::Error) -> bool {
    let source = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(source, Some(rustls::Error::InvalidCertificate(_)))
        || error.kind() == io::ErrorKind::InvalidInput
}

impl DialError {
    /// How far the dial got.
    pub fn stage(&self) -> DialStage {
        match self {
            Self::Refused { .. } | Self::NoRule(_) | Self::Unsupported { .. } => DialStage::Choose,
            Self::NoResolver(_) | Self::Resolve { .. } | Self::NoAddress(_) => DialStage::Resolve,
            Self::Failed { .. } => DialStage::Connect,
            Self::TimedOut { stage, .. }
            | Self::CheckTimedOut { stage }
            | Self::Proxy { stage, .. } => *stage,
            Self::NoWay { ways, .. } => {
                let stages = ways.iter().map(DialError::stage);
                stages.max().unwrap_or(DialStage::Choose)
            }
            Self::GaveUp { source, .. } => source.stage(),
            Self::Other { .. } => DialStage::Other,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused { .. } | Self::NoRule(_) => Fault::Policy,
            Self::Unsupported { .. } | Self::NoResolver(_) => Fault::Setup,
            Self::Resolve { .. } | Self::NoAddress(_) => Fault::Target,
            Self::TimedOut { stage, .. } => match stage {
                DialStage::Resolve | DialStage::Connect | DialStage::Request => Fault::Target,
                _ => Fault::Way,
            },
            Self::CheckTimedOut { .. } => Fault::Way,
            Self::Failed { tried, .. } => match tried.iter().all(|attempt| is_ours(&attempt.error))
            {
                true => Fault::Way,
                false => Fault::Target,
            },
            // Whether the proxy or the target was silent cannot be told once the proxy was asked for it.
            Self::Proxy {
                stage: DialStage::Request,
                source: ProxyError::TimedOut,
                ..
            } => Fault::Target,
            Self::Proxy { source, .. } => source.fault(),
            Self::NoWay { ways, .. } => match ways.iter().any(|way| way.fault() != Fault::Setup) {
                true => Fault::Way,
                false => Fault::Setup,
            },
            Self::Other { .. } => Fault::Way,
            Self::GaveUp { source, .. } => source.fault(),
        }
    }

    /// Whether the same dial may do in a while.
    pub fn is_worth_retrying(&self) -> bool {
        match self {
            Self::NoAddress(_) => false,
            Self::Resolve { source, .. } => source.is_temporary(),
            _ => matches!(self.fault(), Fault::Target | Fault::Way),
        }
    }
}

/// An attempt that was over before a packet left.
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

struct Tried<'a>(&'a [Attempt]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|attempt| write!(f, "; {}: {}", attempt.address, Chain(&attempt.error)))
    }
}

struct Ways<'a>(&'a [DialError]);

impl fmt::Display for Ways<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|error| write!(f, "; {}", Chain(error)))
    }
}
