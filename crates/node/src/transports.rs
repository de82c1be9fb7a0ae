//! The transports a node was built with.

#[cfg(feature = "quic")]
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use libp2p_identity::Keypair;

use crate::{Config, SetupError};

/// What is made once and used for every dial and every listener.
pub(crate) struct Transports {
    #[cfg(feature = "tcp")]
    pub(crate) tcp: Tcp,
    #[cfg(feature = "quic")]
    pub(crate) quic: Quic,
}

#[cfg(feature = "tcp")]
pub(crate) struct Tcp {
    pub(crate) upgrader: transport_tcp::Upgrader,
    pub(crate) dialer:
        std::sync::Arc<transport_tcp::Metered<std::sync::Arc<dyn transport_tcp::Dialer>>>,
    /// None where the system's configuration cannot be read: names are then an error, addresses are not.
    pub(crate) resolver: Option<transport_tcp::Resolver>,
}

#[cfg(feature = "quic")]
pub(crate) struct Quic {
    keypair: Keypair,
    config: transport_quic::Config,
    binder: std::sync::Arc<dyn transport_quic::UdpBinder>,
    /// Listening ones, and those made only to dial from.
    endpoints: Mutex<Vec<transport_quic::Endpoint>>,
}

impl Transports {
    pub(crate) async fn close(&self) {
        #[cfg(feature = "quic")]
        {
            let endpoints = std::mem::take(&mut *self.quic.endpoints());
            let closing = endpoints.iter().map(|endpoint| {
                endpoint.close(transport_quic::CloseCode::SHUTDOWN, "shutting down")
            });
            futures::future::join_all(closing).await;
        }
    }
}

#[cfg(feature = "tcp")]
impl Tcp {
    pub(crate) fn new(
        keypair: &Keypair,
        config: &Config,
        dialer: Option<std::sync::Arc<dyn transport_tcp::Dialer>>,
    ) -> Result<Self, SetupError> {
        let resolver = transport_tcp::Resolver::system();
        let resolver = resolver
            .inspect_err(|error| tracing::warn!(%error, "no names"))
            .ok();
        let dialer = dialer.unwrap_or_else(|| direct(resolver.clone()));
        Ok(Self {
            upgrader: transport_tcp::Upgrader::new(keypair, config.upgrade.clone())?,
            dialer: std::sync::Arc::new(transport_tcp::Metered::new(dialer)),
            resolver,
        })
    }
}

#[cfg(feature = "tcp")]
fn direct(resolver: Option<transport_tcp::Resolver>) -> std::sync::Arc<dyn transport_tcp::Dialer> {
    let mut config = transport_tcp::DirectConfig::default();
    config.resolver = resolver;
    std::sync::Arc::new(transport_tcp::Direct::new(config))
}

#[cfg(feature = "quic")]
impl Quic {
    pub(crate) fn new(
        keypair: &Keypair,
        config: &Config,
        binder: std::sync::Arc<dyn transport_quic::UdpBinder>,
    ) -> Self {
        Self {
            keypair: keypair.clone(),
            config: config.quic.clone(),
            binder,
            endpoints: Mutex::default(),
        }
    }

    fn endpoints(&self) -> std::sync::MutexGuard<'_, Vec<transport_quic::Endpoint>> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A new endpoint.
    pub(crate) fn bind(
        &self,
        address: SocketAddr,
    ) -> Result<transport_quic::Endpoint, transport_quic::BindError> {
        transport_quic::Endpoint::with_binder(
            address,
            &self.keypair,
            self.config.clone(),
            std::sync::Arc::clone(&self.binder),
        )
    }

    /// Lets later dials start from `endpoint`.
    pub(crate) fn share(&self, endpoint: transport_quic::Endpoint) {
        self.endpoints().push(endpoint);
    }

    /// An endpoint from which `target` can be reached: a listening one, so that the peer sees the address at which we
    /// listen, else one of its own.
    pub(crate) fn endpoint_for(
        &self,
        target: IpAddr,
    ) -> Result<transport_quic::Endpoint, transport_quic::BindError> {
        let reaches = |endpoint: &&transport_quic::Endpoint| {
            let Ok(local) = endpoint.local_addr().map(|local| local.ip()) else {
                return false;
            };
            local.is_ipv4() == target.is_ipv4()
                && (local.is_unspecified() || local.is_loopback() == target.is_loopback())
        };
        if let Some(endpoint) = self.endpoints().iter().find(reaches) {
            return Ok(endpoint.clone());
        }
        let any = match target {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let endpoint = self.bind(SocketAddr::new(any, 0))?;
        self.share(endpoint.clone());
        Ok(endpoint)
    }
}
