//! The common code of both kinds of proxies, and dials through several proxies in a row.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::timeout_at;

use super::{
    http_connect::HttpConnect,
    socks5::{Replies, Socks5},
};
use crate::{ByteStream, DialContext, DialError, DialStage, Dialer, Host, ProxyError, Target};

/// A proxy, of either kind.
#[derive(Clone)]
#[non_exhaustive]
pub enum Proxy {
    /// A SOCKS5 proxy.
    Socks5(Socks5),
    /// An HTTP proxy that allows CONNECT.
    HttpConnect(HttpConnect),
}

impl From<Socks5> for Proxy {
    fn from(proxy: Socks5) -> Self {
        Self::Socks5(proxy)
    }
}

impl From<HttpConnect> for Proxy {
    fn from(proxy: HttpConnect) -> Self {
        Self::HttpConnect(proxy)
    }
}

impl fmt::Display for Proxy {
    /// Its URL, without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A connection to a proxy that has got so far that only the target is missing.
pub(crate) struct Greeted {
    pub(crate) stream: ByteStream,
    /// What a SOCKS5 proxy has answered so far.
    pub(crate) replies: Replies,
}

/// A proxy that failed us.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) stage: DialStage,
    pub(crate) source: ProxyError,
}

impl Broken {
    /// Whether the connection had died unnoticed, so that a new one may do.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self.source, ProxyError::Closed | ProxyError::Io(_))
    }

    pub(crate) fn into_error(self, proxy: &Proxy, target: &Target) -> DialError {
        DialError::Proxy {
            address: target.to_multiaddr(),
            proxy: Arc::clone(proxy.label()),
            stage: self.stage,
            source: self.source,
        }
    }
}

impl Proxy {
    /// The dialer that it is.
    pub(crate) fn into_dialer(self) -> Arc<dyn Dialer> {
        match self {
            Self::Socks5(proxy) => Arc::new(proxy),
            Self::HttpConnect(proxy) => Arc::new(proxy),
        }
    }

    /// The same proxy, reached by `base`, which is called `way` in logs.
    pub(crate) fn behind(mut self, way: &str, base: Arc<dyn Dialer>) -> Self {
        let (label, old) = match &mut self {
            Self::Socks5(proxy) => (&mut proxy.label, &mut proxy.base),
            Self::HttpConnect(proxy) => (&mut proxy.label, &mut proxy.base),
        };
        *label = format!("{way} then {label}").into();
        *old = base;
        self
    }

    pub(crate) fn label(&self) -> &Arc<str> {
        match self {
            Self::Socks5(proxy) => &proxy.label,
            Self::HttpConnect(proxy) => &proxy.label,
        }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &Target {
        match self {
            Self::Socks5(proxy) => &proxy.address,
            Self::HttpConnect(proxy) => &proxy.address,
        }
    }

    /// What reaches it.
    pub(crate) fn base(&self) -> &Arc<dyn Dialer> {
        match self {
            Self::Socks5(proxy) => &proxy.base,
            Self::HttpConnect(proxy) => &proxy.base,
        }
    }

    /// Connects to it.
    pub(crate) async fn reach(&self, cx: &DialContext) -> Result<ByteStream, Broken> {
        cx.enter(DialStage::Reach);
        let reached = self.base().dial(self.address(), &cx.to_proxy()).await;
        reached.map_err(|error| Broken {
            stage: DialStage::Reach,
            source: ProxyError::Unreachable(Box::new(error)),
        })
    }

    /// All of the handshake that needs no target.
    pub(crate) async fn greet(
        &self,
        stream: ByteStream,
        cx: &DialContext,
    ) -> Result<Greeted, Broken> {
        let greeting = self.begin(stream, cx);
        let greeted = timeout_at(cx.handshake_deadline(), greeting).await;
        let greeted = greeted.unwrap_or(Err(ProxyError::TimedOut));
        greeted.map_err(|source| Broken {
            stage: self.first_stage(),
            source,
        })
    }

    /// The rest of it.
    pub(crate) async fn request(
        &self,
        greeted: Greeted,
        target: &Target,
        cx: &DialContext,
    ) -> Result<ByteStream, Broken> {
        let asking = self.ask(greeted, target, cx);
        let asked = timeout_at(cx.handshake_deadline(), asking).await;
        asked
            .unwrap_or(Err(ProxyError::TimedOut))
            .map_err(|source| Broken {
                stage: DialStage::Request,
                source,
            })
    }

    /// Both, on a connection to the proxy, with one deadline.
    pub(crate) async fn handshake(
        &self,
        stream: ByteStream,
        target: &Target,
        cx: &DialContext,
    ) -> Result<ByteStream, Broken> {
        let greeted = AtomicBool::new(false);
        let both = async {
            let begun = self.begin(stream, cx).await?;
            greeted.store(true, Ordering::Relaxed);
            self.ask(begun, target, cx).await
        };
        let outcome = timeout_at(cx.handshake_deadline(), both).await;
        outcome
            .unwrap_or(Err(ProxyError::TimedOut))
            .map_err(|source| Broken {
                stage: match greeted.into_inner() {
                    true => DialStage::Request,
                    false => self.first_stage(),
                },
                source,
            })
    }

    /// What a handshake begins with.
    fn first_stage(&self) -> DialStage {
        match self {
            Self::Socks5(_) => DialStage::Greet,
            Self::HttpConnect(_) => DialStage::Secure,
        }
    }

    async fn begin(&self, stream: ByteStream, cx: &DialContext) -> Result<Greeted, ProxyError> {
        match self {
            Self::Socks5(proxy) => {
                cx.enter(DialStage::Greet);
                let (stream, replies) = proxy.greet(stream).await?;
                Ok(Greeted { stream, replies })
            }
            Self::HttpConnect(proxy) => {
                if proxy.tls.is_some() {
                    cx.enter(DialStage::Secure);
                }
                Ok(Greeted {
                    stream: proxy.secure(stream).await?,
                    replies: Replies::default(),
                })
            }
        }
    }

    async fn ask(
        &self,
        greeted: Greeted,
        target: &Target,
        cx: &DialContext,
    ) -> Result<ByteStream, ProxyError> {
        cx.enter(DialStage::Request);
        match self {
            Self::Socks5(proxy) => {
                let Greeted { stream, replies } = greeted;
                proxy.request(stream, replies, target).await
            }
            Self::HttpConnect(proxy) => proxy.request(greeted.stream, target).await,
        }
    }
}

/// A proxy passes on names and addresses. What a `/dnsaddr` stands for it cannot tell.
pub(crate) fn check_target(target: &Target) -> Result<(), DialError> {
    match target.host() {
        Host::DnsAddr(_) => Err(DialError::Unsupported {
            address: target.to_multiaddr(),
            host: "a /dnsaddr through a proxy: its records would have to be resolved here",
        }),
        _ => Ok(()),
    }
}

/// Dials `target` through one proxy.
pub(crate) async fn dial(
    proxy: &Proxy,
    target: &Target,
    cx: &DialContext,
) -> Result<ByteStream, DialError> {
    check_target(target)?;
    cx.take(proxy.label());
    let failed = |broken: Broken| broken.into_error(proxy, target);
    let stream = proxy.reach(cx).await.map_err(failed)?;
    proxy.handshake(stream, target, cx).await.map_err(failed)
}

/// Whether the proxy is up and accepts the credentials.
pub(crate) async fn check(proxy: &Proxy, cx: &DialContext) -> Result<(), DialError> {
    let failed = |broken: Broken| broken.into_error(proxy, proxy.address());
    let stream = proxy.reach(cx).await.map_err(failed)?;
    proxy.greet(stream, cx).await.map(drop).map_err(failed)
}

#[async_trait::async_trait]
impl Dialer for Socks5 {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        dial(&Proxy::Socks5(self.clone()), target, cx).await
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        check(&Proxy::Socks5(self.clone()), cx).await
    }
}

#[async_trait::async_trait]
impl Dialer for HttpConnect {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        dial(&Proxy::HttpConnect(self.clone()), target, cx).await
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        check(&Proxy::HttpConnect(self.clone()), cx).await
    }
}
