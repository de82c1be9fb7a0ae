//! Candidates for a purpose of another part, such as relays.

use super::{
    book::{Book, Key},
    view::Purpose,
};

/// The most purposes. A host has one per part that looks for peers.
const MAX_PURPOSES: usize = 8;

/// How many peers are still wanted for each purpose.
#[derive(Debug, Default)]
pub(super) struct Wishes(Vec<Wish>);

#[derive(Debug)]
struct Wish {
    purpose: Purpose,
    missing: usize,
    /// How often peers were asked for. A candidate is offered once in each round.
    round: u32,
}

impl Wishes {
    pub(super) fn set(&mut self, purpose: Purpose, count: usize) {
        if let Some(wish) = self.0.iter_mut().find(|wish| wish.purpose == purpose) {
            wish.missing = count;
            wish.round = wish.round.saturating_add(1);
        } else if self.0.len() < MAX_PURPOSES {
            self.0.push(Wish {
                purpose,
                missing: count,
                round: 1,
            });
        }
    }

    /// The candidate to offer next: the one whose last offer for the purpose is the longest ago, then a connected one, then the
    /// most trusted one.
    pub(super) fn next<Id: Clone + Ord, A: Clone + PartialEq>(
        &mut self,
        book: &mut Book<Id, A>,
        is_connected: impl Fn(&Id) -> bool,
    ) -> Option<(Purpose, Key)> {
        for wish in self.0.iter_mut().filter(|wish| wish.missing > 0) {
            let purpose = wish.purpose;
            let offered = |offers: &[(Purpose, u32)]| {
                let of_purpose = offers.iter().find(|(known, _)| *known == purpose);
                of_purpose.map_or(0, |(_, round)| *round)
            };
            let best = book
                .iter()
                .filter(|(_, entry)| entry.peer.is_some() && offered(&entry.offers) < wish.round)
                .min_by_key(|(key, entry)| {
                    let away = !entry.peer.as_ref().is_some_and(&is_connected);
                    (offered(&entry.offers), away, entry.origin(), *key)
                });
            if let Some(key) = best.map(|(key, _)| key)
                && let Some(entry) = book.get_mut(key)
            {
                entry.offers.retain(|(known, _)| *known != purpose);
                entry.offers.push((purpose, wish.round));
                wish.missing -= 1;
                return Some((purpose, key));
            }
        }
        None
    }
}
