//! Finds out whether the other end of a connection still answers, when asked to.
//!
//! It pings, once, over a stream of its own. Every libp2p stack answers that; and one that refuses the protocol has
//! answered as well.

use std::{
    io, iter,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::BoxFuture};
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{DeniedUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError},
    },
};

/// How long an answer is waited for. What is late is still an answer: the tracker decides what becomes of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ask whether the other end answers.
#[derive(Debug, Clone, Copy)]
pub struct Probe;

/// The other end answers.
#[derive(Debug, Clone, Copy)]
pub struct Alive;

/// One connection's.
#[derive(Default)]
pub struct Handler {
    state: State,
    waker: Option<Waker>,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Wanted,
    Asked,
    Answered,
}

impl Handler {
    fn enter(&mut self, state: State) {
        self.state = state;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Probe;
    type ToBehaviour = Alive;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = Ping;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<DeniedUpgrade> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn on_behaviour_event(&mut self, Probe: Probe) {
        // The answer to the one that is on its way will do.
        if let State::Idle = self.state {
            self.enter(State::Wanted);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Ping, (), Alive>> {
        match self.state {
            State::Wanted => {
                self.state = State::Asked;
                let protocol = SubstreamProtocol::new(Ping, ()).with_timeout(PATIENCE);
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
            }
            State::Answered => {
                self.state = State::Idle;
                Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Alive))
            }
            State::Idle | State::Asked => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, DeniedUpgrade, Ping>) {
        match event {
            ConnectionEvent::FullyNegotiatedOutbound(_) => self.enter(State::Answered),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.enter(match error {
                    StreamUpgradeError::NegotiationFailed => State::Answered,
                    _ => State::Idle,
                });
            }
            _ => {}
        }
    }
}

/// A ping of libp2p: 32 bytes that come back.
pub struct Ping;

impl UpgradeInfo for Ping {
    type Info = StreamProtocol;
    type InfoIter = iter::Once<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once(StreamProtocol::new("/ipfs/ping/1.0.0"))
    }
}

impl OutboundUpgrade<Stream> for Ping {
    type Output = ();
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<()>>;

    fn upgrade_outbound(self, mut stream: Stream, _: StreamProtocol) -> Self::Future {
        let ping = async move {
            // It measures nothing, so what comes back need not be compared and what is sent need not be random.
            let mut bytes = [0; 32];
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            stream.read_exact(&mut bytes).await
        };
        ping.boxed()
    }
}
