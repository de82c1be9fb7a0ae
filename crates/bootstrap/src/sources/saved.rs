//! The saved peers of an earlier run.

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::Task;
use crate::{
    Candidate, Origin,
    store::{Loaded, SavedPeer},
};

/// A source of the peers that a store has loaded, those that stayed longest first. Later it reports the problems of the store.
pub fn saved(mut loaded: Loaded) -> Task<PeerId, Multiaddr> {
    Task::new(move |finds| async move {
        for problem in loaded.problems {
            finds.problem(problem).await;
        }
        for SavedPeer {
            peer, addresses, ..
        } in loaded.peers
        {
            finds
                .candidate(Candidate::new(Some(peer), addresses, Origin::Saved))
                .await;
        }
        while let Some(failure) = loaded.failures.recv().await {
            finds.problem(failure).await;
        }
    })
}
