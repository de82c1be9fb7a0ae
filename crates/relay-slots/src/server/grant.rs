//! Grants of slots. The caller signs vouchers outside of the server, and several renewals can use the same voucher.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;

use crate::{
    error::Status,
    wire::{HopMessage, Limit, MAX_RELAY_MESSAGE, Reservation, Voucher},
};

/// A voucher serves a renewal if it expires at most one eighth of the slot's time before the renewed slot. A holder that renews
/// at three quarters of the time gets a new voucher each time. A renewal soon after the previous one costs no signature.
const SLACK: u32 = 8;

/// A granted slot, and the answer for its peer. Call [`Self::answer`] outside of any lock, because signing takes time, and pass
/// the result to [`crate::Server::handle_signed`].
#[derive(Debug, Clone)]
pub struct Grant {
    pub(super) keypair: Arc<Keypair>,
    pub(super) voucher: Option<Voucher>,
    pub(super) sealed: Option<Vec<u8>>,
    pub(super) expire: u64,
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) limit: Option<Limit>,
}

/// The answer to a peer that was granted a slot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Granting {
    /// Write this to the hop stream and close the stream.
    pub message: HopMessage,
    /// The voucher in the message, if it was signed for this message.
    pub(super) signed: Option<(Voucher, Vec<u8>)>,
}

impl Grant {
    /// The addresses that the answer lists, each with the relay's id: see [`crate::Server::set_addresses`].
    pub fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    /// Replaces the addresses that the answer lists. Each gets the relay's id, and circuit addresses are left out. The first
    /// addresses are the most useful: if a message has no room for all addresses, the last ones are left out.
    #[must_use]
    pub fn with_addresses(mut self, addresses: Vec<Multiaddr>) -> Self {
        self.addresses = super::with_id(addresses, self.keypair.public().to_peer_id());
        self
    }

    /// Signs a voucher, unless an earlier voucher can be used, and builds the message. If the key cannot sign, the message has no
    /// voucher, because vouchers are advisory.
    pub fn answer(self) -> Granting {
        let seal = |voucher: Voucher| Some((voucher, voucher.seal(&self.keypair).ok()?));
        let signed = self
            .voucher
            .filter(|_| self.sealed.is_none())
            .and_then(seal);
        let sealed = self
            .sealed
            .or_else(|| signed.as_ref().map(|(_, sealed)| sealed.clone()));
        let granting = |addresses| Granting {
            message: HopMessage::Status {
                status: Status::Ok,
                reservation: Some(Reservation::new(self.expire, addresses, sealed.clone())),
                limit: self.limit,
            },
            signed: signed.clone(),
        };
        // As many addresses as fit into one message. A field number and a length precede each address, and the length of the
        // whole reservation may need one more byte.
        let mut room = MAX_RELAY_MESSAGE.saturating_sub(granting(Vec::new()).message.length() + 1);
        let fits = |address: &Multiaddr| {
            let left = room.checked_sub(address.len() + 3);
            room = left.unwrap_or(0);
            left.is_some()
        };
        granting(self.addresses.into_iter().take_while(fits).collect())
    }
}

/// The latest voucher of each holder.
#[derive(Debug, Default)]
pub(super) struct Vouchers {
    sealed: BTreeMap<PeerId, (u64, Vec<u8>)>,
}

impl Vouchers {
    /// The voucher of `peer`, if it expires almost as late as `expire`.
    pub(super) fn find(&self, peer: &PeerId, expire: u64, ttl: Duration) -> Option<Vec<u8>> {
        let (until, sealed) = self.sealed.get(peer)?;
        let slack = (ttl / SLACK).as_secs();
        (until.saturating_add(slack) >= expire).then(|| sealed.clone())
    }

    /// Keeps a voucher. If there would be twice as many vouchers as slots, forgets the vouchers of peers without a slot.
    pub(super) fn keep(
        &mut self,
        voucher: &Voucher,
        sealed: Vec<u8>,
        slots: usize,
        holds: impl Fn(&PeerId) -> bool,
    ) {
        if self.sealed.len() >= slots.saturating_mul(2).max(16) {
            self.sealed.retain(|peer, _| holds(peer));
        }
        let kept = (voucher.expiration, sealed);
        self.sealed.insert(voucher.peer, kept);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sealed.len()
    }
}
