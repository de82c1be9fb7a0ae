//! The reach of the nearest peer with a link, which decides the addresses of members that the node dials.

use super::{
    carrier::Carrying,
    links::{NodeLinks, now},
};
use crate::address::audience::Reach;

impl NodeLinks {
    /// Notes the reach of a peer with a new link.
    pub(super) fn note_reach(&self, reach: Reach) {
        self.reach().reaches.note(now(), [reach]);
        self.tell_own_addresses();
    }

    /// Notes the reach of all peers with links.
    pub(super) fn note_present(&self) {
        let present = self.table.connections();
        let present = present.iter().map(Carrying::audience);
        self.reach().reaches.note(now(), present);
    }

    /// The reach of the nearest peer that has had a link within the last ten minutes.
    pub(super) fn nearest(&self) -> Option<Reach> {
        self.note_present();
        self.reach().reaches.nearest(now())
    }
}
