//! The encoding of one saved peer. The decoder trusts no byte of the file.

use std::time::Duration;

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// The most addresses of a saved peer.
pub(crate) const MAX_ADDRESSES: usize = 8;
/// The longest address in bytes.
pub(crate) const MAX_ADDRESS: usize = 512;
/// The layout of the records. A reader passes over records with another one.
const VERSION: u8 = 1;
/// The longest stay that is believed: 10 years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A peer whose connection lasted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedPeer {
    /// The peer.
    pub peer: PeerId,
    /// The addresses at which the peer was reached, the latest address first.
    pub addresses: Vec<Multiaddr>,
    /// When it was last known to be connected, in seconds since 1970.
    pub last_seen: u64,
    /// The longest time for which it was connected.
    pub stayed: Duration,
}

/// A record is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record of a saved peer")]
pub(crate) struct NotARecord;

impl SavedPeer {
    /// A peer to save.
    pub fn new(peer: PeerId, addresses: Vec<Multiaddr>, last_seen: u64, stayed: Duration) -> Self {
        Self {
            peer,
            addresses,
            last_seen,
            stayed,
        }
    }

    /// Version, last seen, stay in seconds, number of addresses, and each address after its length. All numbers are big-endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let addresses = self.addresses.iter().map(Multiaddr::as_ref);
        let addresses: Vec<&[u8]> = addresses
            .filter(|bytes: &&[u8]| bytes.len() <= MAX_ADDRESS)
            .take(MAX_ADDRESSES)
            .collect();
        let mut bytes = vec![VERSION];
        bytes.extend(self.last_seen.to_be_bytes());
        bytes.extend(self.stayed.as_secs().to_be_bytes());
        bytes.push(u8::try_from(addresses.len()).unwrap_or_default());
        for address in addresses {
            bytes.extend(
                u16::try_from(address.len())
                    .unwrap_or_default()
                    .to_be_bytes(),
            );
            bytes.extend(address);
        }
        bytes
    }

    /// Reads a record. `now` is the present time: nothing was seen later.
    pub(crate) fn decode(key: &[u8], value: &[u8], now: u64) -> Result<Self, NotARecord> {
        let peer = PeerId::from_bytes(key).map_err(|_| NotARecord)?;
        let mut rest = value;
        let [version] = take(&mut rest)?;
        let last_seen = u64::from_be_bytes(take(&mut rest)?).min(now);
        let stayed = Duration::from_secs(u64::from_be_bytes(take(&mut rest)?)).min(LONGEST);
        let [count] = take(&mut rest)?;
        if version != VERSION || usize::from(count) > MAX_ADDRESSES {
            return Err(NotARecord);
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes(take(&mut rest)?));
            if length == 0 || length > MAX_ADDRESS {
                return Err(NotARecord);
            }
            let (address, after) = rest.split_at_checked(length).ok_or(NotARecord)?;
            addresses.push(Multiaddr::try_from(address.to_vec()).map_err(|_| NotARecord)?);
            rest = after;
        }
        if !rest.is_empty() || addresses.is_empty() {
            return Err(NotARecord);
        }
        Ok(Self {
            peer,
            addresses,
            last_seen,
            stayed,
        })
    }

    /// Adds what is known from before.
    pub(crate) fn merge(&mut self, before: &Self) {
        self.stayed = self.stayed.max(before.stayed);
        self.last_seen = self.last_seen.max(before.last_seen);
        for address in &before.addresses {
            if self.addresses.len() < MAX_ADDRESSES && !self.addresses.contains(address) {
                self.addresses.push(address.clone());
            }
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], NotARecord> {
    let (taken, after) = rest.split_first_chunk().ok_or(NotARecord)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(addresses: usize) -> SavedPeer {
        let address = |n| format!("/ip4/192.0.2.{n}/tcp/4077").parse().unwrap();
        let addresses = (1..=addresses).map(address).collect();
        SavedPeer::new(PeerId::random(), addresses, 1000, Duration::from_secs(60))
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_no_part_of_it_is() {
        let saved = record(3);
        let (key, value) = (saved.peer.to_bytes(), saved.encode());
        assert_eq!(SavedPeer::decode(&key, &value, 2000), Ok(saved));
        for cut in 0..value.len() {
            assert_eq!(
                SavedPeer::decode(&key, &value[..cut], 2000),
                Err(NotARecord)
            );
        }
        let longer = [&value[..], &[0]].concat();
        assert_eq!(SavedPeer::decode(&key, &longer, 2000), Err(NotARecord));
        assert_eq!(SavedPeer::decode(&key[1..], &value, 2000), Err(NotARecord));
    }

    #[test]
    fn numbers_that_cannot_be_are_cut_and_addresses_beyond_eight_are_not_written() {
        let mut saved = record(9);
        (saved.last_seen, saved.stayed) = (u64::MAX, Duration::MAX);
        let read = SavedPeer::decode(&saved.peer.to_bytes(), &saved.encode(), 2000).unwrap();
        assert_eq!(
            (read.last_seen, read.stayed, read.addresses.len()),
            (2000, LONGEST, 8)
        );
    }

    #[test]
    fn a_record_of_another_version_or_without_an_address_with_nine_or_with_a_long_one_is_none() {
        let saved = record(1);
        let value = |lengths: &[usize]| {
            let mut bytes = saved.encode();
            bytes.truncate(17);
            bytes.push(u8::try_from(lengths.len()).unwrap());
            for length in lengths {
                let text = "a".repeat(length - 2 - usize::from(length - 2 > 127));
                let address: Multiaddr = format!("/dns/{text}").parse().unwrap();
                assert_eq!(address.as_ref().len(), *length);
                bytes.extend(u16::try_from(*length).unwrap().to_be_bytes());
                bytes.extend(address.as_ref());
            }
            bytes
        };
        let is_one = |lengths: &[usize]| {
            SavedPeer::decode(&saved.peer.to_bytes(), &value(lengths), 2000).is_ok()
        };
        assert!(is_one(&[9]) && is_one(&[9; 8]) && is_one(&[512]));
        assert!(!is_one(&[]) && !is_one(&[9; 9]) && !is_one(&[513]));
        let mut other = saved.encode();
        other[0] = VERSION + 1;
        let read = SavedPeer::decode(&saved.peer.to_bytes(), &other, 2000);
        assert_eq!(read, Err(NotARecord), "of another version");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(key in prop::collection::vec(any::<u8>(), 0..64), value in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = SavedPeer::decode(&key, &value, 0);
        }
    }
}
