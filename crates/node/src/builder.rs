//! Builds a node.

mod assembly;

use std::sync::Arc;

use libp2p_identity::Keypair;

use self::assembly::{Components, Transports};
use crate::{
    config::Config, context::Context, core::Core, error::SetupError, event::Events, node::Node,
    part::Part,
};

/// Builds a [`Node`]. Every setting except the key has a default.
pub struct Builder {
    keypair: Keypair,
    config: Config,
    components: Components,
    listens_first: bool,
}

impl Node {
    /// Returns a builder for a node with this identity.
    pub fn builder(keypair: Keypair) -> Builder {
        Builder {
            keypair,
            config: Config::default(),
            components: Components::default(),
            listens_first: false,
        }
    }
}

impl Builder {
    /// Sets the node's settings.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the dialer, which opens the byte streams to TCP addresses. Default: [`transport_tcp::Direct`].
    ///
    /// If the dialer does not dial an address directly ([`transport_tcp::Dialer::is_direct`]), the node dials the
    /// address only through the dialer. QUIC would bypass a proxy, and a `/dnsaddr` look-up would tell a name server
    /// about the peer.
    #[cfg(feature = "tcp")]
    pub fn dialer(mut self, dialer: Arc<dyn transport_tcp::Dialer>) -> Self {
        self.components.dialer = Some(dialer);
        self
    }

    /// Sets the resolver of `/dnsaddr` names. Without [`Self::dialer`], it also resolves the host names in TCP
    /// addresses. Default: the name servers of this machine's configuration.
    #[cfg(feature = "tcp")]
    pub fn resolver(mut self, resolver: transport_tcp::Resolver) -> Self {
        self.components.resolver = Some(resolver);
        self
    }

    /// Sets the binder of the UDP sockets for QUIC. Default: [`transport_quic::Tuned`].
    #[cfg(feature = "quic")]
    pub fn binder(mut self, binder: Arc<dyn transport_quic::UdpBinder>) -> Self {
        self.components.binder = Some(binder);
        self
    }

    /// Adds a source of peers to dial, in addition to those of [`crate::BootstrapConfig`].
    #[cfg(feature = "bootstrap")]
    pub fn source(
        mut self,
        source: Box<dyn bootstrap::PeerSource<libp2p_identity::PeerId, multiaddr::Multiaddr>>,
    ) -> Self {
        self.components.sources.push(source);
        self
    }

    /// The node dials no peer by itself before [`Node::begin`]. If the host listens first and calls `begin` afterwards, the first
    /// dials already start from the sockets of its listeners, so that peers see the ports at which the node can be reached.
    /// Default: the node begins when it is built.
    pub fn listen_first(mut self) -> Self {
        self.listens_first = true;
        self
    }

    /// Builds and starts the node. Call this method inside a tokio runtime. The node listens after [`Node::listen`].
    ///
    /// # Errors
    ///
    /// The identity cannot be used, or the node cannot announce one of the addresses in [`crate::AnnounceConfig::addresses`].
    pub fn build(self) -> Result<Node, SetupError> {
        Ok(self.build_with_events()?.0)
    }

    /// Like [`Self::build`], but also returns a subscription that starts with the first event. A node with relays in
    /// its configuration asks them for slots at once, so a later call of [`Node::events`] may miss their answers.
    ///
    /// # Errors
    ///
    /// As [`Self::build`].
    pub fn build_with_events(self) -> Result<(Node, Events), SetupError> {
        self.build_with(|_| Vec::new())
    }

    /// Builds the node with further parts, which receive each change after the node's own parts.
    pub(crate) fn build_with(
        self,
        further: impl FnOnce(&Context) -> Vec<Arc<dyn Part>>,
    ) -> Result<(Node, Events), SetupError> {
        let announce = &self.config.announce;
        for address in &announce.addresses {
            if let Some(problem) = announce.problem(address) {
                let address = address.clone();
                return Err(SetupError::Announce { address, problem });
            }
        }
        let transports = Transports::new(&self.keypair, &self.config, &self.components)?;
        let core = Core::new(
            self.keypair,
            self.config,
            transports.all(),
            transports.is_direct(),
        );
        let context = Context::new(&core);
        let mut parts = self.components.parts(&core, &context, &transports)?;
        parts.extend(further(&context));
        // The subscription must exist before the parts start.
        let started = Node::start(Arc::clone(&core));
        core.assemble(parts);
        if !self.listens_first {
            started.0.begin();
        }
        Ok(started)
    }

    /// Builds the node, and returns the context of its parts, too.
    #[cfg(test)]
    pub(crate) fn build_with_context(self) -> Result<(Node, Events, Context), SetupError> {
        let mut kept = None;
        let built = self.build_with(|context| {
            kept = Some(context.clone());
            Vec::new()
        });
        let (node, events) = built?;
        let context = kept.unwrap_or_else(|| unreachable!("the parts were built"));
        Ok((node, events, context))
    }
}
