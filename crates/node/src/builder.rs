//! Putting a node together.

use libp2p_identity::Keypair;

use crate::{Config, Events, Node, SetupError, transports::Transports};

/// What a node is made of. Whatever is not set has a default.
pub struct Builder {
    keypair: Keypair,
    config: Config,
    #[cfg(feature = "tcp")]
    dialer: Option<std::sync::Arc<dyn transport_tcp::Dialer>>,
    #[cfg(feature = "quic")]
    binder: Option<std::sync::Arc<dyn transport_quic::UdpBinder>>,
}

impl Builder {
    pub(crate) fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            config: Config::default(),
            #[cfg(feature = "tcp")]
            dialer: None,
            #[cfg(feature = "quic")]
            binder: None,
        }
    }

    /// Sets everything that is a number or a name.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets how byte streams to TCP addresses come about. Default: [`transport_tcp::Direct`].
    ///
    /// What the dialer does not dial directly ([`transport_tcp::Dialer::is_direct`]) is dialed by nothing else either:
    /// QUIC would go around a proxy, and looking up a `/dnsaddr` would tell a name server about it.
    #[cfg(feature = "tcp")]
    pub fn dialer(mut self, dialer: std::sync::Arc<dyn transport_tcp::Dialer>) -> Self {
        self.dialer = Some(dialer);
        self
    }

    /// Sets how the UDP sockets under QUIC are made. Default: [`transport_quic::Tuned`].
    #[cfg(feature = "quic")]
    pub fn binder(mut self, binder: std::sync::Arc<dyn transport_quic::UdpBinder>) -> Self {
        self.binder = Some(binder);
        self
    }

    /// Makes the node. It dials as soon as it is asked and listens where it is told. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// The identity cannot be put to use.
    pub fn build(self) -> Result<Node, SetupError> {
        Ok(self.build_with_events()?.0)
    }

    /// The same, and every event from the first on. A node that is to be reached through relays asks them at once, so
    /// that a later [`Node::events`] may miss what they answer.
    ///
    /// # Errors
    ///
    /// As [`Self::build`].
    pub fn build_with_events(self) -> Result<(Node, Events), SetupError> {
        let transports = Transports {
            #[cfg(feature = "tcp")]
            tcp: crate::transports::Tcp::new(&self.keypair, &self.config, self.dialer)?,
            #[cfg(feature = "quic")]
            quic: crate::transports::Quic::new(
                &self.keypair,
                &self.config,
                self.binder
                    .unwrap_or_else(|| std::sync::Arc::new(transport_quic::Tuned::default())),
            ),
        };
        Ok(Node::new(self.keypair, self.config, transports))
    }
}
