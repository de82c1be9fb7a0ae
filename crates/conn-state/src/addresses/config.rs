//! The settings of an address book.

use std::time::Duration;

/// How much an address book keeps, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressBookConfig {
    /// The maximum number of peers. Default 4,096. 4,096 peers take about 5 MB with four addresses of 40 bytes each, and 60 MB if
    /// each address and record has its maximum size.
    pub max_peers: usize,
    /// The maximum number of addresses of one peer. Default 16: a host has few interfaces, and each address may cost a dial.
    pub max_addresses: usize,
    /// The maximum size of an address, in bytes as the host counts them. Default 512, which suffices for a circuit address with a
    /// DNS name of the maximum length and two peer ids.
    pub max_address_bytes: usize,
    /// The maximum size of a signed record in bytes. Default 4,096. A record with 16 addresses takes about 1 KiB.
    pub max_record_bytes: usize,
    /// The lifetime of an address that only a third party has named. Default 1 h, because nobody vouches for the address.
    pub hearsay: Duration,
    /// The lifetime of an address that the peer, a relay or a dial has named. Default 24 h: a host that returns daily is found
    /// again, and a host with dynamic addresses does not fill the book with old addresses.
    pub named: Duration,
    /// The lifetime of an address after its latest successful dial. Default 7 days: a node that was down for a weekend finds its
    /// peers again.
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
