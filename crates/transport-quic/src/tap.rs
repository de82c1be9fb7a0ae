//! Watches the packets of a connection for path challenges and their echoes.
//!
//! quinn does not report when a peer has proved a new address. quinn's cryptographic interface sees each packet before encryption
//! and after decryption, so this module can detect the proof there.

use std::{any::Any, net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use quinn_proto::{
    ConnectError, ConnectionId, Side, TransportError,
    crypto::{
        ClientConfig, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey,
        ServerConfig, Session, UnsupportedVersion,
    },
    transport_parameters::TransportParameters,
};

use crate::unproved::{ProvedBy, Token, Unproved};

/// A configuration whose connections report their proofs. It is made for one connection.
pub(crate) struct Tapped<C> {
    config: Arc<C>,
    /// The address of the peer when the connection begins.
    address: SocketAddr,
    unproved: Arc<Unproved>,
}

impl<C> Tapped<C> {
    pub(crate) fn new(config: C, address: SocketAddr, unproved: Arc<Unproved>) -> Self {
        let config = Arc::new(config);
        Self {
            config,
            address,
            unproved,
        }
    }

    fn session(&self, session: Box<dyn Session>) -> TappedSession {
        TappedSession {
            session,
            proves: None,
            proofs: Arc::new(ProvedBy::new(self.unproved.clone())),
        }
    }
}

impl<C: ClientConfig> ClientConfig for Tapped<C> {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let session = self
            .config
            .clone()
            .start_session(version, server_name, params)?;
        let session = self.session(session);
        // The dialer's user has chosen the address, and its first packet has 1,200 bytes.
        session.proofs.add(self.address);
        Ok(Box::new(session))
    }
}

impl<C: ServerConfig> ServerConfig for Tapped<C> {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.config.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.config.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let session = self.config.clone().start_session(version, params);
        let proves = Some(self.address);
        Box::new(TappedSession {
            proves,
            ..self.session(session)
        })
    }
}

struct TappedSession {
    session: Box<dyn Session>,
    /// The address that the end of the handshake proves.
    proves: Option<SocketAddr>,
    proofs: Arc<ProvedBy>,
}

impl TappedSession {
    fn tap(&self, keys: KeyPair<Box<dyn PacketKey>>) -> KeyPair<Box<dyn PacketKey>> {
        let tap = |key| -> Box<dyn PacketKey> {
            Box::new(TappedKey {
                key,
                proofs: self.proofs.clone(),
            })
        };
        KeyPair {
            local: tap(keys.local),
            remote: tap(keys.remote),
        }
    }
}

impl Session for TappedSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.session.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.session.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.session.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.session.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.session.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let ready = self.session.read_handshake(buf)?;
        if !self.session.is_handshaking()
            && let Some(address) = self.proves.take()
        {
            self.proofs.add(address);
        }
        Ok(ready)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.session.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let Keys { header, packet } = self.session.write_handshake(buf)?;
        let packet = self.tap(packet);
        Some(Keys { header, packet })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.session.next_1rtt_keys()?;
        Some(self.tap(keys))
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.session.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.session.export_keying_material(output, label, context)
    }
}

struct TappedKey {
    key: Box<dyn PacketKey>,
    proofs: Arc<ProvedBy>,
}

impl PacketKey for TappedKey {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        let challenge = buf.get(header_len..).and_then(challenge_in);
        self.key.encrypt(packet, buf, header_len);
        if let (Some(token), Some(tag)) = (challenge, buf.last_chunk()) {
            self.proofs.handle_challenge(token, *tag);
        }
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.key.decrypt(packet, header, payload)?;
        self.proofs.handle_decrypted(payload);
        Ok(())
    }

    fn tag_len(&self) -> usize {
        self.key.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.key.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.key.integrity_limit()
    }
}

/// The challenge in the frames of a packet that quinn has written. quinn writes a challenge after HANDSHAKE_DONE, PING,
/// IMMEDIATE_ACK and ACK, and before all other frames (RFC 9000 section 19).
fn challenge_in(mut frames: &[u8]) -> Option<Token> {
    loop {
        let (kind, rest) = frames.split_first()?;
        frames = match kind {
            0x01 | 0x1e | 0x1f => rest,
            0x02 | 0x03 => after_ack(rest, *kind == 0x03)?,
            0x1a => return rest.first_chunk().copied(),
            _ => return None,
        };
    }
}

fn after_ack(mut rest: &[u8], has_ecn: bool) -> Option<&[u8]> {
    let mut varint = || {
        let (value, after) = varint(rest)?;
        rest = after;
        Some(value)
    };
    let (_largest, _delay, ranges, _first) = (varint()?, varint()?, varint()?, varint()?);
    for _ in 0..2 * ranges + if has_ecn { 3 } else { 0 } {
        varint()?;
    }
    Some(rest)
}

/// A number of variable length (RFC 9000 section 16), and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (number, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = number
        .iter()
        .skip(1)
        .fold(u64::from(first & 0x3f), |value, byte| {
            value << 8 | u64::from(*byte)
        });
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_found_behind_the_frames_that_quinn_writes_first() {
        let challenge = [b"\x1a".as_slice(), b"12345678", &[0; 40]].concat();
        let before: [&[u8]; 5] = [
            b"",
            b"\x1e\x01",
            // ACK: 300, delay 9, no further range; then one with two ranges and ECN counts.
            b"\x02\x41\x2c\x09\x00\x07",
            b"\x03\x41\x2c\x09\x02\x07\x01\x40\x40\x01\x02\x01\x02\x80\x00\x00\x03",
            b"\x1f\x02\x01\x00\x00\x00",
        ];
        for before in before {
            let frames = [before, &challenge].concat();
            assert_eq!(challenge_in(&frames), Some(*b"12345678"), "{before:x?}");
            for cut in 0..before.len() + 9 {
                assert_eq!(challenge_in(&frames[..cut]), None);
            }
        }
        assert_eq!(challenge_in(&[b"\x08\x00", &challenge[..]].concat()), None);
    }
}
