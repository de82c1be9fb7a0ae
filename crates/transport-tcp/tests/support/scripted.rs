//! A dialer that does as it is told.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};
use transport_tcp::{
    ByteStream, DialContext, DialError, DialStage, Dialer, ProxyError, ResolveError, Target,
};

use super::proxy::{echo, refused};

/// What comes of a dial or a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Open,
    /// The target refuses.
    Target,
    /// The proxy hangs up.
    Way,
    /// The proxy does not know us.
    Setup,
    /// A rule says no.
    Policy,
    /// The name is there and has no address.
    NoAddress,
    NoResolver,
    /// A name that does not resolve, and will not.
    Unresolved,
    Foreign,
    /// Nothing until the deadline.
    Silence,
    /// Nothing, not even at the deadline.
    Never,
}

impl Outcome {
    pub fn error(self, target: &Target) -> DialError {
        let address = target.to_multiaddr();
        let proxy = |stage, source| DialError::Proxy {
            address: target.to_multiaddr(),
            proxy: "socks5://scripted".into(),
            stage,
            source,
        };
        match self {
            Self::Open | Self::Never => unreachable!("no error"),
            Self::Target => refused(target),
            Self::Way => proxy(DialStage::Greet, ProxyError::Closed),
            Self::Setup => proxy(DialStage::Greet, ProxyError::AuthenticationFailed),
            Self::Silence => proxy(DialStage::Greet, ProxyError::TimedOut),
            Self::Policy => DialError::NoRule(address),
            Self::NoAddress => DialError::NoAddress(address),
            Self::NoResolver => DialError::NoResolver(address),
            Self::Unresolved => DialError::Resolve {
                address,
                source: ResolveError::Empty("a.example".into()),
            },
            Self::Foreign => DialError::Other {
                address,
                stage: "doing something else",
                source: io::ErrorKind::Other.into(),
            },
        }
    }
}

#[derive(Clone)]
pub struct Scripted(Arc<Mutex<State>>);

struct State {
    /// What comes first, and what comes after that.
    plan: VecDeque<Outcome>,
    then: Outcome,
    /// What comes of a check, where it is something else.
    check: Option<Outcome>,
    takes: Duration,
    dials: Vec<Instant>,
    checks: Vec<Instant>,
}

impl Scripted {
    pub fn new(then: Outcome) -> Self {
        Self::plan([], then)
    }

    pub fn plan(plan: impl IntoIterator<Item = Outcome>, then: Outcome) -> Self {
        Self(Arc::new(Mutex::new(State {
            plan: plan.into_iter().collect(),
            then,
            check: None,
            takes: Duration::ZERO,
            dials: Vec::new(),
            checks: Vec::new(),
        })))
    }

    /// Every dial and check takes so long.
    pub fn taking(self, time: Duration) -> Self {
        self.0.lock().unwrap().takes = time;
        self
    }

    /// This comes of every check, whatever comes of dials.
    pub fn checked(self, outcome: Outcome) -> Self {
        self.0.lock().unwrap().check = Some(outcome);
        self
    }

    pub fn set(&self, outcome: Outcome) {
        self.0.lock().unwrap().then = outcome;
    }

    /// When each dial began.
    pub fn dials(&self) -> Vec<Instant> {
        self.0.lock().unwrap().dials.clone()
    }

    /// When each check began.
    pub fn checks(&self) -> Vec<Instant> {
        self.0.lock().unwrap().checks.clone()
    }

    async fn run(
        outcome: Outcome,
        takes: Duration,
        target: &Target,
        cx: &DialContext,
    ) -> Result<(), DialError> {
        sleep(takes).await;
        match outcome {
            Outcome::Open => return Ok(()),
            Outcome::Silence => sleep_until(cx.deadline).await,
            Outcome::Never => std::future::pending().await,
            _ => {}
        }
        Err(outcome.error(target))
    }
}

#[async_trait::async_trait]
impl Dialer for Scripted {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        let (outcome, takes) = {
            let mut state = self.0.lock().unwrap();
            state.dials.push(Instant::now());
            let outcome = state.plan.pop_front().unwrap_or(state.then);
            (outcome, state.takes)
        };
        Self::run(outcome, takes, target, cx).await?;
        let (near, far) = tokio::io::duplex(1024);
        tokio::spawn(echo()(ByteStream::boxed(far)));
        Ok(ByteStream::boxed(near))
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        let (outcome, takes) = {
            let mut state = self.0.lock().unwrap();
            state.checks.push(Instant::now());
            (state.check.unwrap_or(state.then), state.takes)
        };
        let itself: Target = "/ip4/192.0.2.1/tcp/1080".parse().unwrap();
        Self::run(outcome, takes, &itself, cx).await
    }
}
