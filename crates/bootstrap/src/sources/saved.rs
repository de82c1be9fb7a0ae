//! The saved peers of an earlier run.

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::mpsc;

use super::Task;
use crate::{Candidate, Origin, SavedPeer, SourceError};

/// Names the peers that a store has read, and then reports the problems of its writer.
pub(crate) fn saved(
    peers: Vec<SavedPeer>,
    problems: Vec<SourceError>,
    mut failures: mpsc::Receiver<SourceError>,
) -> Task<PeerId, Multiaddr> {
    Task::new(move |finds| async move {
        for problem in problems {
            finds.problem(problem).await;
        }
        for SavedPeer {
            peer, addresses, ..
        } in peers
        {
            finds
                .candidate(Candidate::new(Some(peer), addresses, Origin::Saved))
                .await;
        }
        while let Some(failure) = failures.recv().await {
            finds.problem(failure).await;
        }
    })
}
