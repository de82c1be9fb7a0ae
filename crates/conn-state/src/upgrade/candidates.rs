//! Which of the peer's addresses are dialed.

/// What the host makes of one address that the peer named, given in its binary form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate<A> {
    /// It can be dialed.
    Direct(A),
    /// It leads through a relay, and no relayed connection is direct.
    Relayed,
    /// It is no multiaddr.
    Undecodable,
    /// The host will not dial it: it has no transport for it, or the peer points into the host's own network (loopback,
    /// link-local, a private range), which a stranger may do to have us knock on doors inside.
    Unwanted,
}

/// How many of the peer's addresses are not dialed, and why not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// [`Candidate::Relayed`].
    pub relayed: usize,
    /// [`Candidate::Undecodable`].
    pub undecodable: usize,
    /// [`Candidate::Unwanted`].
    pub unwanted: usize,
    /// Named twice.
    pub duplicate: usize,
    /// Past [`super::UpgradeConfig::max_addresses`], so nobody looked at them.
    pub surplus: usize,
}

impl Skipped {
    /// All of them.
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
