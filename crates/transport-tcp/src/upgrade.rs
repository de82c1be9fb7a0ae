//! Upgrades a byte stream to a connection: it negotiates, secures and multiplexes.

use std::{any::Any, fmt, future::Future, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};

use crate::{
    ByteStream, Connection, Keypair, NegotiateError, PeerId, Security, Stage, Step, UpgradeConfig,
    UpgradeError, UpgradeSetupError, driver,
    negotiate::{self, YAMUX},
    noise::Noise,
    presume::Presume,
    readahead::ReadAhead,
    security::{End, Secured},
    tls::Tls,
};

/// Turns byte streams into connections. An upgrader is cheap to clone: the costly parts, which are the certificate and
/// the signed Noise key, are made once in [`Upgrader::new`].
#[derive(Clone)]
pub struct Upgrader {
    inner: Arc<Inner>,
}

struct Inner {
    config: UpgradeConfig,
    protocols: Vec<&'static str>,
    tls: Tls,
    noise: Noise,
}

impl fmt::Debug for Upgrader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.inner.config;
        f.debug_struct("Upgrader").field("config", config).finish()
    }
}

/// Reports the stages of one upgrade.
struct Progress<'a> {
    begin: Instant,
    stages: &'a mut (dyn FnMut(Stage) + Send),
}

impl Progress<'_> {
    fn negotiated(&mut self, security: Security) {
        let elapsed = self.begin.elapsed();
        (self.stages)(Stage::Negotiated { security, elapsed });
    }

    fn secured(&mut self, peer: PeerId, security: Security) {
        let elapsed = self.begin.elapsed();
        (self.stages)(Stage::Secured {
            peer,
            security,
            elapsed,
        });
    }

    fn muxed(&mut self, early: bool) {
        let elapsed = self.begin.elapsed();
        (self.stages)(Stage::Muxed { early, elapsed });
    }
}

impl Upgrader {
    /// An upgrader for one identity.
    pub fn new(identity: &Keypair, config: UpgradeConfig) -> Result<Self, UpgradeSetupError> {
        if config.security.is_empty() {
            return Err(UpgradeSetupError::NoSecurity);
        }
        // A yamux receive window is counted in 32 bits a stream, and the sum in a usize.
        if config.max_streams == 0 || config.max_streams > u32::MAX as usize / 2 {
            return Err(UpgradeSetupError::BadStreamLimit(config.max_streams));
        }
        let protocols = config.security.iter().map(|s| s.protocol()).collect();
        let inner = Inner {
            protocols,
            tls: Tls::new(identity).map_err(UpgradeSetupError::Certificate)?,
            noise: Noise::new(identity).map_err(UpgradeSetupError::StaticKey)?,
            config,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Upgrades a dialed stream. This end is the client and the initiator, and proposes protocols.
    ///
    /// The handshake refuses a peer other than `expected`. If `expected` is `None` and `io` is a [`ByteStream`] that
    /// names a peer ([`ByteStream::peer`]), the handshake expects that peer.
    ///
    /// Call this within a tokio runtime, which then drives the connection. Dropping the future drops `io`.
    pub async fn outbound<S>(
        &self,
        io: S,
        expected: Option<PeerId>,
        stages: &mut (dyn FnMut(Stage) + Send),
    ) -> Result<Connection, UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // In a box: an upgrade's state is some KiB, and callers go on in the task that held it.
        Box::pin(self.inner.run(io, End::Dialer, expected, stages)).await
    }

    /// Upgrades an accepted stream. This end is the server and the responder, and answers proposals. Otherwise this
    /// method works like [`Upgrader::outbound`].
    pub async fn inbound<S>(
        &self,
        io: S,
        stages: &mut (dyn FnMut(Stage) + Send),
    ) -> Result<Connection, UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Box::pin(self.inner.run(io, End::Listener, None, stages)).await
    }
}

impl Inner {
    async fn run<S>(
        &self,
        mut io: S,
        end: End,
        expected: Option<PeerId>,
        stages: &mut (dyn FnMut(Stage) + Send),
    ) -> Result<Connection, UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = (&mut io as &mut dyn Any).downcast_mut::<ByteStream>();
        let (link, named) = stream.map_or((None, None), |s| (s.link(), s.take_peer()));
        let expected = expected.or(named);
        let mut progress = Progress {
            begin: Instant::now(),
            stages,
        };
        let mut io = ReadAhead::new(Presume::new(io));
        let security = self.security(&mut io, end).await?;
        progress.negotiated(security);
        let (shared, peer) = match security {
            Security::Tls => {
                let handshake = async {
                    match end {
                        End::Dialer => self.tls.connect(io, expected).await,
                        End::Listener => self.tls.accept(io).await,
                    }
                };
                let secured = self.secure(handshake).await?;
                self.mux(secured, security, end, progress).await?
            }
            Security::Noise => {
                let handshake = async {
                    match end {
                        End::Dialer => self.noise.connect(io, expected).await,
                        End::Listener => self.noise.accept(io).await,
                    }
                    .map_err(UpgradeError::from_noise)
                };
                let secured = self.secure(handshake).await?;
                self.mux(secured, security, end, progress).await?
            }
        };
        Ok(Connection::new(shared, peer, security, link))
    }

    async fn security<S>(
        &self,
        io: &mut ReadAhead<Presume<S>>,
        end: End,
    ) -> Result<Security, UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let (End::Dialer, [only]) = (end, &*self.config.security) {
            io.get_mut().presume(only.protocol());
            return Ok(*only);
        }
        let limit = self.config.negotiate_timeout;
        let agreed = agree(io, end, &self.protocols, Step::Negotiate, limit).await?;
        let chosen = self.config.security.iter();
        let mut chosen = chosen.filter(|security| security.protocol() == agreed);
        chosen.next().copied().ok_or(UpgradeError::Negotiation {
            stage: Step::Negotiate,
            source: NegotiateError::NoneInCommon,
        })
    }

    async fn secure<T>(
        &self,
        handshake: impl Future<Output = Result<T, UpgradeError>>,
    ) -> Result<T, UpgradeError> {
        let limit = self.config.secure_timeout;
        match timeout(limit, handshake).await {
            Ok(result) => result.map_err(UpgradeError::or_refused),
            Err(_) => Err(UpgradeError::TimedOut {
                stage: Step::Secure,
                limit,
            }),
        }
    }

    async fn mux<S>(
        &self,
        mut secured: Secured<S>,
        security: Security,
        end: End,
        mut progress: Progress<'_>,
    ) -> Result<(Arc<driver::Shared>, PeerId), UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        progress.secured(secured.peer, security);
        if !secured.muxer_settled {
            let limit = self.config.mux_timeout;
            agree(&mut secured.stream, end, &[YAMUX], Step::Mux, limit).await?;
        }
        let shared = driver::spawn(secured.stream, end, &self.config);
        progress.muxed(secured.muxer_settled);
        Ok((shared, secured.peer))
    }
}

async fn agree<S>(
    io: &mut S,
    end: End,
    protocols: &[&'static str],
    stage: Step,
    limit: Duration,
) -> Result<&'static str, UpgradeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let talk = async {
        match end {
            End::Dialer => negotiate::offer(io, protocols).await,
            End::Listener => negotiate::answer(io, protocols).await,
        }
    };
    match timeout(limit, talk).await {
        Ok(result) => result.map_err(|source| UpgradeError::Negotiation { stage, source }),
        Err(_) => Err(UpgradeError::TimedOut { stage, limit }),
    }
}
