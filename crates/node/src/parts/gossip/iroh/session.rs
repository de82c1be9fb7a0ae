//! The life of a connection to an iroh peer, from its dial or its arrival to its end.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use conn_state::Closing;
use futures::{FutureExt, future::select_ok};
use gossip_net::{Id, JoinError, LinkError, LinkId};
use libp2p_identity::PeerId;
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use transport_quic::{CloseCode, Endpoint, Incoming, RecvStream};

use super::{super::reader::Reader, IrohConnection, IrohLinks};
use crate::{
    address,
    connections::OutsidePermit,
    error::{AttemptCause, error_chain},
    part::Source,
    parts::gossip::{
        SubscribeError,
        carrier::Carrying,
        id::key_of,
        links::NodeLinks,
        table::{BoxedReader, Ends},
    },
};

/// The head start of an address over the next one (RFC 8305 section 8).
const STAGGER: Duration = Duration::from_millis(250);

impl IrohLinks {
    /// Dials the addresses of a peer, one after another. The first connection wins.
    async fn dial(
        &self,
        peer: PeerId,
        addresses: Vec<SocketAddr>,
        until: Instant,
    ) -> Result<(transport_quic::Connection, OutsidePermit), LinkError> {
        let unreachable = |reason: String| LinkError::Unreachable { reason };
        let direct = addresses.iter().filter(|at| self.is_direct(peer, **at));
        let direct = direct.copied().collect::<Vec<_>>();
        if direct.is_empty() {
            let cause = AttemptCause::NotDirect {
                what: "a link to iroh",
            };
            let reason = error_chain(&cause);
            return Err(LinkError::Refused { reason });
        }
        let permit = self.context.permit(None);
        let permit = permit.map_err(|refused| unreachable(error_chain(&refused)))?;
        let attempts = (0..).zip(direct).map(|(n, at)| {
            async move {
                sleep(STAGGER * n).await;
                self.endpoints.dial(at, Some(peer)).await
            }
            .boxed()
        });
        let dialed = tokio::select! {
            dialed = timeout_at(until.into(), select_ok(attempts)) => dialed,
            reason = permit.cancelled() => return Err(unreachable(reason.to_string())),
        };
        match dialed {
            Ok(Ok((connection, _))) => Ok((connection, permit)),
            Ok(Err(error)) => Err(unreachable(error_chain(&error))),
            Err(_) => Err(LinkError::TimedOut),
        }
    }
}

/// Accepts connections until the part stops, or the socket breaks.
pub(super) async fn accept(links: Weak<NodeLinks>, endpoint: Endpoint) {
    loop {
        let Some(stop) = stop_of(&links) else {
            return;
        };
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = stop.cancelled() => return,
        };
        match (incoming, links.upgrade()) {
            (Ok(incoming), Some(links)) => links.admit(incoming),
            (Err(error), _) => {
                let reason = error_chain(&error);
                tracing::error!(reason, "a listener for iroh failed");
                return;
            }
            (Ok(_), None) => return,
        }
    }
}

impl NodeLinks {
    /// The endpoints for iroh.
    pub(super) fn iroh(&self) -> Result<&IrohLinks, SubscribeError> {
        self.iroh.get().ok_or(JoinError::Left.into())
    }

    /// Fires when the part stops.
    fn iroh_stop(&self) -> Option<CancellationToken> {
        Some(self.iroh.get()?.stop.clone())
    }

    /// The addresses of a peer's iroh endpoint.
    pub(in crate::parts::gossip) fn iroh_addresses_of(
        &self,
        peer: &Id,
        data: &[u8],
    ) -> Vec<SocketAddr> {
        let nearest = self.nearest();
        let iroh = self.iroh.get();
        iroh.map_or_else(Vec::new, |iroh| iroh.addresses_of(peer, data, nearest))
    }

    /// Opens a link to the iroh endpoint of a peer.
    pub(in crate::parts::gossip) async fn connect_to_iroh(
        &self,
        peer: PeerId,
        addresses: Vec<SocketAddr>,
        until: Instant,
    ) -> Result<LinkId, LinkError> {
        let iroh = self.iroh.get().ok_or(LinkError::Closed)?;
        let (quic, permit) = iroh.dial(peer, addresses, until).await?;
        let carried = self.carry(quic, permit, true);
        carried.map_err(|cause| LinkError::Refused {
            reason: error_chain(&cause),
        })
    }

    /// Counts an inbound handshake and runs it, or refuses it.
    fn admit(self: &Arc<Self>, incoming: Incoming) {
        let (remote, is_validated) = (incoming.remote_addr(), incoming.is_validated());
        let source = match is_validated {
            true => Source::Validated(remote.ip()),
            false => Source::Claimed(remote.ip()),
        };
        match self.context.permit(Some(source)) {
            Ok(permit) => {
                let links = Arc::downgrade(self);
                self.context.spawn(receive(links, incoming, permit));
            }
            Err(refused) => {
                // A forged source never answers a retry. A real source comes back with a proof, and is then refused.
                if let Err(validated) = incoming.retry() {
                    validated.refuse();
                }
                let at = address::of_quic(remote);
                self.context.report_failure(at, refused);
            }
        }
    }

    /// Begins a link on a connection whose handshake has succeeded.
    fn carry(
        &self,
        quic: transport_quic::Connection,
        mut permit: OutsidePermit,
        is_dialed: bool,
    ) -> Result<LinkId, AttemptCause> {
        let peer = quic.peer();
        let admitted = match key_of(&peer) {
            Ok(key) if key == self.me => Err(AttemptCause::Oneself),
            Ok(key) => permit.authenticate(peer).map(|()| key),
            // The handshake accepts Ed25519 keys only.
            Err(_) => Err(AttemptCause::Closed(Closing::Violation)),
        };
        let key = match admitted {
            Ok(key) => key,
            Err(refused) => {
                quic.close(CloseCode::RESOURCE_LIMIT, "refused");
                return Err(refused);
            }
        };
        let remote = quic.remote_addr();
        let connection = IrohConnection::new(permit.id(), quic);
        let protocol = connection.protocol();
        tracing::debug!(%peer, %remote, ?protocol, is_dialed, "an iroh connection is up");
        let ends = Ends {
            peer: key,
            dialed_by: if is_dialed { self.me } else { key },
            protocol,
        };
        let (link, _) = self.table.begin(&Carrying::Iroh(connection.clone()), ends);
        self.note_reach(connection.audience());
        self.context
            .spawn(serve(self.this.clone(), connection, ends, permit));
        Ok(link)
    }

    /// The peer has opened a stream.
    fn add_iroh_stream(&self, connection: &IrohConnection, ends: Ends, stream: RecvStream) {
        let carrying = Carrying::Iroh(connection.clone());
        // A closing connection has no link any more, and gets none.
        if !self.table.carries(connection.id()) {
            return;
        }
        // The two lowest bits of a stream's number are the same for all streams of this kind (RFC 9000 section 2.1).
        let index = stream.id() >> 2;
        let wrap = |closed| -> BoxedReader { Box::new(Reader::new(stream, closed)) };
        self.table.add_stream(&carrying, ends, index, wrap);
    }
}

/// Runs an inbound handshake.
async fn receive(links: Weak<NodeLinks>, incoming: Incoming, permit: OutsidePermit) {
    let at = address::of_quic(incoming.remote_addr());
    let Some(stop) = stop_of(&links) else {
        return;
    };
    let accepted = tokio::select! {
        accepted = incoming.accept() => accepted.map_err(AttemptCause::from),
        reason = permit.cancelled() => Err(AttemptCause::Closed(reason)),
        () = stop.cancelled() => return,
    };
    let Some(links) = links.upgrade() else { return };
    let carried = accepted.and_then(|quic| links.carry(quic, permit, false));
    if let Err(cause) = carried {
        links.context.report_failure(at, cause);
    }
}

/// Takes the streams of a connection until its end.
async fn serve(
    links: Weak<NodeLinks>,
    connection: IrohConnection,
    ends: Ends,
    permit: OutsidePermit,
) {
    loop {
        tokio::select! {
            stream = connection.accept() => match (stream, links.upgrade()) {
                (Some(stream), Some(links)) => links.add_iroh_stream(&connection, ends, stream),
                (Some(_), None) => connection.close("the node is gone"),
                (None, _) => break,
            },
            reason = permit.cancelled() => {
                connection.close(&reason.to_string());
                break;
            }
        }
    }
    let cause = connection.closed().await;
    drop(permit);
    tracing::debug!(peer = %connection.peer(), cause, "an iroh connection has ended");
    if let Some(links) = links.upgrade() {
        links.ended(connection.id());
    }
}

fn stop_of(links: &Weak<NodeLinks>) -> Option<CancellationToken> {
    links.upgrade()?.iroh_stop()
}
