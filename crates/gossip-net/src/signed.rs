//! Payloads with a proved author. A payload holds the author's key, a sequence number, the time, the data and a signature.

use std::{collections::BTreeMap, time::Duration};

use ed25519_dalek::{Signature, Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use crate::{Bytes, Id, TopicId};

/// The signed bytes begin with this text, so that no signature of another protocol is valid here.
const DOMAIN: &[u8] = b"bowline-gossip-signed:";
/// The maximum number of bytes that a payload has in addition to its data.
pub const SIGNED_OVERHEAD: usize = 32 + 10 + 10 + 5 + 64;
/// How many sequence numbers below an author's highest one may still arrive.
const WINDOW: u64 = 64;
/// How many authors are remembered. If more authors sign within the tolerance, payloads of a forgotten author can be replayed.
const MAX_AUTHORS: usize = 65_536;

/// Why a payload is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// The bytes are not a signed payload.
    #[error("the message is not signed")]
    Malformed,
    /// The signature is not the author's, or belongs to another topic.
    #[error("the signature of the message is wrong")]
    WrongSignature,
    /// The payload was opened before, or is older than the window of the author's latest payloads.
    #[error("the message is a replay")]
    Replayed,
    /// The time of the payload is too far from now.
    #[error("the time of the message is {seconds} s away from the time of this host")]
    WrongTime {
        /// The difference.
        seconds: u64,
    },
}

/// A payload whose author is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The author.
    pub author: Id,
    /// The number of the payload among the author's payloads. The numbers grow, and may have gaps.
    pub sequence: u64,
    /// When the payload was signed, in milliseconds since 1970, as the author says.
    pub time: u64,
    /// The data.
    pub data: Bytes,
}

#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    key: Id,
    sequence: u64,
    time: u64,
    #[serde(borrow)]
    data: &'a [u8],
    signature: (Half, Half),
}

/// serde has arrays of at most 32 elements.
type Half = [u8; 32];

/// Signs payloads for one topic.
pub struct Signer {
    key: SigningKey,
    topic: TopicId,
    sequence: u64,
}

impl Signer {
    /// Signs with this Ed25519 secret. `sequence` must be higher than all earlier numbers with the same key and topic. You can
    /// use the time in microseconds, if the clock of the host is never set back.
    pub fn new(secret: &[u8; 32], topic: TopicId, sequence: u64) -> Self {
        let key = SigningKey::from_bytes(secret);
        Self {
            key,
            topic,
            sequence,
        }
    }

    /// Returns the signed payload with this data. `time` is in milliseconds since 1970.
    pub fn sign(&mut self, time: u64, data: &[u8]) -> Bytes {
        self.sequence = self.sequence.saturating_add(1);
        let signature = self
            .key
            .sign(&covered(&self.topic, self.sequence, time, data));
        let mut halves = [[0; 32]; 2];
        halves[0].copy_from_slice(&signature.to_bytes()[..32]);
        halves[1].copy_from_slice(&signature.to_bytes()[32..]);
        // The key of a signer is a point of the curve.
        let Ok(key) = Id::from_bytes(self.key.verifying_key().to_bytes()) else {
            return Bytes::new();
        };
        let (sequence, signature) = (self.sequence, (halves[0], halves[1]));
        let payload = Payload {
            key,
            sequence,
            time,
            data,
            signature,
        };
        postcard::to_extend(&payload, Vec::new())
            .unwrap_or_default()
            .into()
    }
}

/// Opens the payloads of one topic, and refuses forged and replayed ones.
pub struct Verifier {
    topic: TopicId,
    tolerance: Duration,
    /// Of each author: the highest number, and which of the numbers below it have arrived.
    authors: BTreeMap<Id, Author>,
}

struct Author {
    highest: u64,
    arrived: u64,
    time: u64,
}

impl Verifier {
    /// Refuses payloads whose time differs from this host's by more than the tolerance. The tolerance also limits the
    /// time for which the verifier remembers an author.
    pub fn new(topic: TopicId, tolerance: Duration) -> Self {
        let authors = BTreeMap::new();
        Self {
            topic,
            tolerance,
            authors,
        }
    }

    /// Opens a payload. `now` is in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// The payload is refused. In this case the verifier remembers nothing about the author.
    pub fn open(&mut self, now: u64, payload: &[u8]) -> Result<Signed, SignedError> {
        let Payload {
            key,
            sequence,
            time,
            data,
            signature,
        } = postcard::from_bytes(payload).map_err(|_| SignedError::Malformed)?;
        let millis = u64::try_from(self.tolerance.as_millis()).unwrap_or(u64::MAX);
        let away = now.abs_diff(time);
        if away > millis {
            return Err(SignedError::WrongTime {
                seconds: away / 1000,
            });
        }
        if self
            .authors
            .get(&key)
            .is_some_and(|author| !author.is_new(sequence))
        {
            return Err(SignedError::Replayed);
        }
        let signature = Signature::from_bytes(
            &<[u8; 64]>::try_from([signature.0, signature.1].concat()).unwrap_or([0; 64]),
        );
        let verifier = key.key().ok_or(SignedError::WrongSignature)?;
        let covered = covered(&self.topic, sequence, time, data);
        verifier
            .verify_strict(&covered, &signature)
            .map_err(|_| SignedError::WrongSignature)?;
        self.remember(now, millis, key, sequence, time);
        let data = Bytes::copy_from_slice(data);
        Ok(Signed {
            author: key,
            sequence,
            time,
            data,
        })
    }

    fn remember(&mut self, now: u64, tolerance: u64, key: Id, sequence: u64, time: u64) {
        if !self.authors.contains_key(&key) && self.authors.len() >= MAX_AUTHORS {
            // The time of the last payload of such an author is too far from now, so the payload cannot be replayed.
            self.authors
                .retain(|_, author| now.abs_diff(author.time) <= tolerance);
            if self.authors.len() >= MAX_AUTHORS {
                self.authors.pop_first();
            }
        }
        let author = self.authors.entry(key).or_insert(Author {
            highest: sequence,
            arrived: 0,
            time,
        });
        author.note(sequence);
        author.time = author.time.max(time);
    }
}

impl Author {
    fn is_new(&self, sequence: u64) -> bool {
        match self.highest.checked_sub(sequence) {
            None => true,
            Some(below) => below < WINDOW && self.arrived & (1 << below) == 0,
        }
    }

    /// Bit n of `arrived` is the number that is n below the highest.
    fn note(&mut self, sequence: u64) {
        match self.highest.checked_sub(sequence) {
            Some(below) => {
                self.arrived |= 1_u64
                    .checked_shl(u32::try_from(below).unwrap_or(64))
                    .unwrap_or(0)
            }
            None => {
                let by = u32::try_from(sequence - self.highest).unwrap_or(64);
                self.arrived = self.arrived.checked_shl(by).unwrap_or(0) | 1;
                self.highest = sequence;
            }
        }
    }
}

fn covered(topic: &TopicId, sequence: u64, time: u64, data: &[u8]) -> Vec<u8> {
    [
        DOMAIN,
        topic.as_bytes(),
        &sequence.to_be_bytes(),
        &time.to_be_bytes(),
        data,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn pair() -> (Signer, Verifier) {
        let topic = TopicId::from_name("signed");
        (Signer::new(&[7; 32], topic, 0), Verifier::new(topic, HOUR))
    }

    #[test]
    fn a_signed_payload_opens_once_and_names_its_author() {
        let (mut signer, mut verifier) = pair();
        let payload = signer.sign(5000, b"data");
        let signed = verifier.open(6000, &payload).unwrap();
        assert_eq!(
            (signed.sequence, signed.time, signed.data.as_ref()),
            (1, 5000, &b"data"[..])
        );
        assert_eq!(
            signed.author.as_bytes(),
            signer.key.verifying_key().as_bytes()
        );
        assert_eq!(verifier.open(6000, &payload), Err(SignedError::Replayed));
        assert!(payload.len() <= 4 + SIGNED_OVERHEAD);
    }

    #[test]
    fn any_changed_byte_and_another_topic_are_refused() {
        let (mut signer, mut verifier) = pair();
        let payload = signer.sign(5000, b"data");
        for at in 0..payload.len() {
            let mut forged = payload.to_vec();
            forged[at] ^= 1;
            assert!(verifier.open(5000, &forged).is_err(), "byte {at}");
        }
        let mut elsewhere = Verifier::new(TopicId::from_name("other"), HOUR);
        assert_eq!(
            elsewhere.open(5000, &payload),
            Err(SignedError::WrongSignature)
        );
        assert!(
            verifier.open(5000, &payload).is_ok(),
            "a refused payload uses up no number"
        );
    }

    #[test]
    fn payloads_may_overtake_each_other_by_63_numbers_and_not_by_64() {
        let (mut signer, mut verifier) = pair();
        let payloads = (0..66).map(|_| signer.sign(1, b"")).collect::<Vec<_>>();
        assert!(verifier.open(1, &payloads[64]).is_ok());
        assert!(verifier.open(1, &payloads[1]).is_ok(), "63 below");
        assert_eq!(
            verifier.open(1, &payloads[0]),
            Err(SignedError::Replayed),
            "64 below"
        );
        assert!(verifier.open(1, &payloads[65]).is_ok());
        for old in [1, 64, 65] {
            assert_eq!(verifier.open(1, &payloads[old]), Err(SignedError::Replayed));
        }
        assert!(verifier.open(1, &payloads[30]).is_ok());
    }

    #[test]
    fn a_payload_from_another_time_is_refused() {
        let (mut signer, mut verifier) = pair();
        let payload = signer.sign(10_000_000, b"");
        assert_eq!(
            verifier.open(13_600_001, &payload),
            Err(SignedError::WrongTime { seconds: 3600 })
        );
        assert_eq!(
            verifier.open(6_399_999, &payload),
            Err(SignedError::WrongTime { seconds: 3600 })
        );
        assert!(verifier.open(13_600_000, &payload).is_ok());
    }

    #[test]
    fn numbers_at_the_end_of_their_range_overflow_nothing() {
        let topic = TopicId::from_name("signed");
        let (mut signer, mut verifier) = (
            Signer::new(&[7; 32], topic, u64::MAX),
            Verifier::new(topic, HOUR),
        );
        let mut early = Signer::new(&[7; 32], topic, 0);
        assert!(verifier.open(1, &early.sign(1, b"")).is_ok());
        assert!(verifier.open(1, &signer.sign(1, b"")).is_ok());
        assert_eq!(
            verifier.open(1, &signer.sign(1, b"")),
            Err(SignedError::Replayed)
        );
    }
}
