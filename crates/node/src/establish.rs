//! The pipeline of every connection: permit → handshake → register → session.

use std::{convert::Infallible, sync::Arc, time::Duration};

use conn_state::{Closing, Direction};
use futures::future::BoxFuture;
use multiaddr::Multiaddr;
use tokio::{sync::Notify, time::timeout};

use crate::{
    connection::{Connection, Parameters},
    connections::ConnectionPermit,
    core::Core,
    error::AttemptCause,
    part::{Incoming, Reached},
    session,
};

/// How long a connection that has ended waits for its last answer to be reported. The answer has arrived or never will.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Runs the pipeline for an inbound connection. The future returns when the connection has ended.
///
/// This function takes the permit or refuses the connection before it returns the future. A listener therefore holds at most one
/// socket that the limits do not count.
pub(crate) fn inbound(
    core: Arc<Core>,
    incoming: Incoming,
) -> impl Future<Output = ()> + Send + 'static {
    let Incoming {
        address,
        source,
        advanced,
        handshake,
        refuse,
    } = incoming;
    let admitted = match core.connections.begin_inbound(source) {
        Ok(permit) => Ok((permit, handshake)),
        Err(refused) => {
            if let Some(refuse) = refuse {
                refuse();
            }
            // This closes the socket.
            drop(handshake);
            Err(refused)
        }
    };
    async move {
        match admitted {
            Ok((permit, handshake)) => run(core, permit, address, advanced, handshake).await,
            Err(refused) => core.failures.report(address, refused),
        }
    }
}

/// The steps after the permit of an inbound connection.
async fn run(
    core: Arc<Core>,
    mut permit: ConnectionPermit,
    address: Multiaddr,
    advanced: Option<Arc<Notify>>,
    handshake: BoxFuture<'static, Result<Reached, AttemptCause>>,
) {
    let id = permit.id();
    let progress = async {
        if let Some(advanced) = advanced {
            advanced.notified().await;
            core.connections.note_advanced(id);
        }
        std::future::pending::<Infallible>().await
    };
    let outcome = tokio::select! {
        outcome = permit.run(handshake) => outcome,
        never = progress => match never {},
        () = core.stopping.cancelled() => return,
    };
    let registered = outcome
        .and_then(|reached| register(&core, permit, reached, address.clone(), Direction::Inbound));
    match registered {
        Ok(session) => session.run().await,
        // If the node dialed itself, the dial reports the failure.
        Err(AttemptCause::Oneself) => {}
        Err(cause) => core.failures.report(address, cause),
    }
}

/// Registers a connection after its handshake. The caller must run the session.
pub(crate) fn register(
    core: &Arc<Core>,
    mut permit: ConnectionPermit,
    reached: Reached,
    address: Multiaddr,
    direction: Direction,
) -> Result<Session, AttemptCause> {
    let Reached { muxed, path } = reached;
    if muxed.peer() == core.peer_id {
        permit.end(Closing::Refused, None);
        // The close is graceful, so that the other end, which is also this node, learns the reason.
        muxed.close(Closing::Refused);
        return Err(AttemptCause::Oneself);
    }
    let tracker = core.connections.tracker().clone();
    let Some(streams) = tracker.stream_count(permit.id()) else {
        muxed.abort(Closing::Refused);
        return Err(AttemptCause::Closed(Closing::Local));
    };
    let connection = Connection::new(Parameters {
        id: permit.id(),
        muxed,
        address,
        path,
        direction,
        timeouts: Arc::clone(&core.timeouts),
        streams,
        tracker,
    });
    if let Err(refused) = core.connections.register(&mut permit, &connection) {
        connection.abort_for(Closing::Refused);
        return Err(refused);
    }
    if core.stopping.is_cancelled() {
        connection.close_for(Closing::Shutdown);
    }
    Ok(Session {
        core: Arc::clone(core),
        connection,
        permit,
    })
}

/// The session of a registered connection. It serves the connection, and finally drops the permit.
pub(crate) struct Session {
    core: Arc<Core>,
    connection: Connection,
    permit: ConnectionPermit,
}

impl Session {
    pub(crate) fn spawn(self) -> Connection {
        let connection = self.connection.clone();
        self.core.tasks.clone().spawn(self.run());
        connection
    }

    pub(crate) async fn run(mut self) {
        session::run(&self.core, &self.connection).await;
        let (closing, detail) = self.connection.closed_with_detail().await;
        // A peer that answered identify and left at once has still been identified.
        let _ = timeout(LAST_ANSWER, self.connection.describing()).await;
        self.permit.end(closing, detail);
    }
}
