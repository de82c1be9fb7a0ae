//! The numbers of an address book that a host may set.

use std::time::Duration;

/// How much an address book keeps, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressBookConfig {
    /// The number of peers. Default 4,096. So many peers take about 5 MB with four addresses of 40 bytes each, and 60 MB with
    /// every address and record at its largest.
    pub max_peers: usize,
    /// The number of addresses of one peer. Default 16: a host has few interfaces, and each address may cost a dial.
    pub max_addresses: usize,
    /// The size of an address, in bytes as the host counts them. Default 512: a circuit address with a DNS name of the largest
    /// size and two peer ids.
    pub max_address_bytes: usize,
    /// The size of a signed record in bytes. Default 4,096: one with 16 addresses takes about 1 KiB.
    pub max_record_bytes: usize,
    /// How long an address lasts that only a third party named. Default 1 h: nobody vouches for it.
    pub hearsay: Duration,
    /// How long an address lasts that was named by the peer, by a relay or for a dial. Default 24 h: a host that returns
    /// daily is found again, and a host with dynamic addresses does not fill the book with old ones.
    pub named: Duration,
    /// How long an address lasts after a dial of it last succeeded. Default 7 days: a node that was down for a weekend finds
    /// its peers again.
    pub worked: Duration,
}

impl Default for AddressBookConfig {
    fn default() -> Self {
        Self {
            max_peers: 4_096,
            max_addresses: 16,
            max_address_bytes: 512,
            max_record_bytes: 4_096,
            hearsay: Duration::from_secs(60 * 60),
            named: Duration::from_secs(24 * 60 * 60),
            worked: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

impl AddressBookConfig {
    /// Sets [`Self::max_peers`].
    pub fn with_max_peers(mut self, peers: usize) -> Self {
        self.max_peers = peers;
        self
    }

    /// Sets [`Self::max_addresses`].
    pub fn with_max_addresses(mut self, addresses: usize) -> Self {
        self.max_addresses = addresses;
        self
    }

    /// Sets [`Self::max_address_bytes`] and [`Self::max_record_bytes`].
    pub fn with_max_bytes(mut self, of_address: usize, of_record: usize) -> Self {
        (self.max_address_bytes, self.max_record_bytes) = (of_address, of_record);
        self
    }

    /// Sets [`Self::hearsay`].
    pub fn with_hearsay(mut self, lifetime: Duration) -> Self {
        self.hearsay = lifetime;
        self
    }

    /// Sets [`Self::named`].
    pub fn with_named(mut self, lifetime: Duration) -> Self {
        self.named = lifetime;
        self
    }

    /// Sets [`Self::worked`].
    pub fn with_worked(mut self, lifetime: Duration) -> Self {
        self.worked = lifetime;
        self
    }
}
