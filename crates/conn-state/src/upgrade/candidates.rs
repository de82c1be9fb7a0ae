//! The choice of the peer's addresses to dial.

/// The host's reading of one address that the peer has named in its binary form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate<A> {
    /// The host can dial the address.
    Direct(A),
    /// The address leads through a relay, and a relayed connection is not direct.
    Relayed,
    /// The bytes are not a multiaddr.
    Undecodable,
    /// The host does not dial the address. It has no transport for the address, or the address is in the host's own
    /// network (loopback, link-local or private), where a hostile peer could make the host dial other machines.
    Unwanted,
}

/// The numbers of the peer's addresses that are not dialed, by their reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// [`Candidate::Relayed`].
    pub relayed: usize,
    /// [`Candidate::Undecodable`].
    pub undecodable: usize,
    /// [`Candidate::Unwanted`].
    pub unwanted: usize,
    /// Addresses that were named twice.
    pub duplicate: usize,
    /// Addresses beyond [`super::UpgradeConfig::max_addresses`], which were not read.
    pub surplus: usize,
}

impl Skipped {
    /// The sum of all counts.
    pub fn total(&self) -> usize {
        self.relayed + self.undecodable + self.unwanted + self.duplicate + self.surplus
    }
}

/// The first `limit` addresses that can be dialed, in the peer's order.
pub(super) fn select<A>(
    named: &[Vec<u8>],
    limit: usize,
    read: &mut dyn FnMut(&[u8]) -> Candidate<A>,
) -> (Vec<A>, Skipped) {
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut addresses = Vec::new();
    let mut skipped = Skipped::default();
    for bytes in named {
        if addresses.len() >= limit {
            skipped.surplus += 1;
        } else if seen.contains(&bytes.as_slice()) {
            skipped.duplicate += 1;
        } else {
            match read(bytes) {
                Candidate::Direct(address) => {
                    seen.push(bytes);
                    addresses.push(address);
                }
                Candidate::Relayed => skipped.relayed += 1,
                Candidate::Undecodable => skipped.undecodable += 1,
                Candidate::Unwanted => skipped.unwanted += 1,
            }
        }
    }
    (addresses, skipped)
}
