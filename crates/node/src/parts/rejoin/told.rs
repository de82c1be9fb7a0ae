//! The failed addresses that were reported to the host, so that each failure is reported only once.

use std::collections::BTreeSet;

use bootstrap::Origin;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// The most addresses of the user that are remembered. The failures of further addresses are not told.
const MAX_TOLD: usize = 1024;
/// The most addresses of one peer among them. The owner of a DNS name can add addresses to a peer that the user has named, too.
const MAX_PER_PEER: usize = 16;
/// The most addresses of `/dnsaddr` records that are remembered. The owner of a name who changes its records again and again uses
/// up these places and no others.
const MAX_OF_RECORDS: usize = 128;

/// The addresses whose failure is told, until they answer.
#[derive(Debug, Default)]
pub(super) struct Told {
    of_user: BTreeSet<(Option<PeerId>, Multiaddr)>,
    of_records: BTreeSet<(Option<PeerId>, Multiaddr)>,
}

impl Told {
    /// Whether the host wants to know of a failed dial to addresses of this origin, and was not told of one of the addresses since
    /// it last answered.
    pub(super) fn is_news(
        &mut self,
        origin: Origin,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
    ) -> bool {
        let (known, max) = match origin {
            Origin::Kept | Origin::List | Origin::File => (&mut self.of_user, MAX_TOLD),
            Origin::DnsAddr => (&mut self.of_records, MAX_OF_RECORDS),
            _ => return false,
        };
        let mut is_news = false;
        for address in addresses {
            let of_peer = || known.iter().filter(|(of, _)| *of == peer).count();
            if known.len() < max && (peer.is_none() || of_peer() < MAX_PER_PEER) {
                is_news |= known.insert((peer, address.clone()));
            }
        }
        is_news
    }

    /// The addresses have answered.
    pub(super) fn answered(&mut self, peer: Option<PeerId>, addresses: &[Multiaddr]) {
        for address in addresses {
            let key = (peer, address.clone());
            self.of_user.remove(&key);
            self.of_records.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: u32) -> Multiaddr {
        std::net::Ipv4Addr::from(host).into()
    }

    #[test]
    fn records_that_change_again_and_again_silence_no_failure_of_the_user_s_own_list() {
        let mut told = Told::default();
        let news = |host: &u32| told.is_news(Origin::DnsAddr, Some(PeerId::random()), &[at(*host)]);
        assert_eq!((0..2000).filter(news).count(), 128);
        for origin in [Origin::Kept, Origin::List, Origin::File] {
            let own = [at(3000 + origin as u32)];
            assert!(told.is_news(origin, None, &own), "{origin}");
            assert!(!told.is_news(origin, None, &own), "{origin}");
        }
        assert!(!told.is_news(Origin::Saved, None, &[at(9)]));
    }

    #[test]
    fn of_one_peer_sixteen_addresses_are_told_and_of_the_user_s_addresses_1024() {
        let (mut told, peer) = (Told::default(), Some(PeerId::random()));
        let of_peer = (0..100).filter(|host| told.is_news(Origin::List, peer, &[at(*host)]));
        assert_eq!(of_peer.count(), 16);
        let all = (0..2000).filter(|host| told.is_news(Origin::List, None, &[at(*host)]));
        assert_eq!(all.count(), 1024 - 16);
    }

    #[test]
    fn an_address_that_has_answered_is_told_again() {
        for origin in [Origin::List, Origin::DnsAddr] {
            let (mut told, peer) = (Told::default(), Some(PeerId::random()));
            let addresses = [at(1), at(2)];
            assert!(told.is_news(origin, peer, &addresses));
            assert!(!told.is_news(origin, peer, &addresses[1..]));
            told.answered(peer, &addresses);
            assert!(told.is_news(origin, peer, &addresses[1..]));
        }
    }
}
