//! The connection ids in the header of a datagram (RFC 8999).

/// The long header's form bit.
const LONG: u8 = 0x80;

/// The type bits of a long header, which are 0 in an Initial packet of QUIC v1 (RFC 9000 section 17.2.2).
const TYPE: u8 = 0x30;

/// The header of the first packet in a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header<'a> {
    /// A packet of a handshake.
    Long {
        initial: bool,
        destination: &'a [u8],
        source: &'a [u8],
    },
    /// Any other packet. Its header begins with the destination's id, but does not contain the length of that id.
    Short { destination: &'a [u8] },
}

impl<'a> Header<'a> {
    /// Reads the header. `None`: the datagram is not a QUIC packet.
    pub(super) fn of(datagram: &'a [u8]) -> Option<Self> {
        let (first, rest) = datagram.split_first()?;
        if first & LONG == 0 {
            return Some(Self::Short { destination: rest });
        }
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (destination, rest) = id(rest)?;
        let (source, _) = id(rest)?;
        Some(Self::Long {
            initial: *version == [0, 0, 0, 1] && first & TYPE == 0,
            destination,
            source,
        })
    }
}

fn id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked((*length).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initial_packet_shows_both_ids_and_a_truncated_one_none() {
        let packet = [0xc3, 0, 0, 0, 1, 2, 8, 9, 1, 7, 0];
        let header = Header::Long {
            initial: true,
            destination: &[8, 9],
            source: &[7],
        };
        assert_eq!(Header::of(&packet), Some(header));
        for length in [0, 4, 5, 6, 8, 9] {
            assert_eq!(Header::of(&packet[..length]), None, "{length}");
        }
    }

    #[test]
    fn only_the_initial_type_of_version_1_starts_a_dial() {
        for packet in [[0xe3, 0, 0, 0, 1, 0, 0], [0xc3, 0, 0, 0, 0, 0, 0]] {
            let header = Header::of(&packet);
            assert!(matches!(header, Some(Header::Long { initial: false, .. })));
        }
        let short = Header::Short {
            destination: &[1, 2],
        };
        assert_eq!(Header::of(&[0x43, 1, 2]), Some(short));
    }
}
