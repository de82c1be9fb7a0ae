//! ChaCha20-Poly1305 with a counter: one direction of a connection after its handshake.
//!
//! The crate snow performs the handshake. For the data, this module takes snow's keys and encrypts
//! and decrypts in place, or directly into the memory of the reader. snow itself would copy every
//! byte once more in each direction.

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
};

use super::TAG;

pub(crate) struct Cipher {
    key: LessSafeKey,
    /// Advances with each message sealed, or opened and found authentic; never otherwise.
    counter: u64,
}

impl Cipher {
    pub(crate) fn new(key: &[u8]) -> Result<Self, Unspecified> {
        Ok(Self {
            key: LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key)?),
            counter: 0,
        })
    }

    /// Noise spec section 12.3: four zero bytes, then the counter in little endian. Section
    /// 5.1: the last value is never used.
    fn nonce(&self) -> Result<Nonce, Unspecified> {
        if self.counter == u64::MAX {
            return Err(Unspecified);
        }
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    /// Encrypts `message`, the last [`TAG`] bytes of which are room for the tag.
    pub(crate) fn seal(&mut self, message: &mut [u8]) -> Result<(), Unspecified> {
        let (text, room) = message.split_at_mut(message.len() - TAG);
        let nonce = self.nonce()?;
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), text)?;
        room.copy_from_slice(tag.as_ref());
        self.counter += 1;
        Ok(())
    }

    /// Decrypts `message` in place; the text then stands at its beginning.
    pub(crate) fn open(&mut self, message: &mut [u8]) -> Result<(), Unspecified> {
        let nonce = self.nonce()?;
        self.key.open_in_place(nonce, Aad::empty(), message)?;
        self.counter += 1;
        Ok(())
    }

    /// Decrypts `message` to `text`, which is [`TAG`] bytes shorter.
    pub(crate) fn open_to(&mut self, message: &[u8], text: &mut [u8]) -> Result<(), Unspecified> {
        let (sealed, tag) = message.split_at(text.len());
        let nonce = self.nonce()?;
        self.key
            .open_separate_gather(nonce, Aad::empty(), sealed, tag, text)?;
        self.counter += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Cipher, Cipher) {
        let new = || Cipher::new(&[7; 32]).unwrap();
        (new(), new())
    }

    fn sealed(cipher: &mut Cipher, text: &[u8]) -> Vec<u8> {
        let mut message = [text, &[0; TAG]].concat();
        cipher.seal(&mut message).unwrap();
        message
    }

    #[test]
    fn the_counter_stays_where_it_is_on_a_forged_message() {
        let (mut sender, mut receiver) = pair();
        let genuine = sealed(&mut sender, b"text");
        let mut forged = genuine.clone();
        forged[0] ^= 1;
        assert!(receiver.open_to(&forged, &mut [0; 4]).is_err());
        assert!(receiver.open(&mut forged).is_err());
        assert_eq!(receiver.counter, 0);
        let mut text = [0; 4];
        receiver.open_to(&genuine, &mut text).unwrap();
        assert_eq!((&text, receiver.counter), (b"text", 1));
    }

    #[test]
    fn both_ways_of_opening_agree() {
        let (mut sender, mut receiver) = pair();
        for text in [&b""[..], b"a", &[3; 70_000]] {
            let mut message = sealed(&mut sender, text);
            receiver.open(&mut message).unwrap();
            assert_eq!(&message[..text.len()], text);
            let message = sealed(&mut sender, text);
            let mut out = vec![0; text.len()];
            receiver.open_to(&message, &mut out).unwrap();
            assert_eq!(out, text);
        }
    }

    #[test]
    fn the_last_counter_value_is_never_used() {
        let (mut sender, _) = pair();
        sender.counter = u64::MAX - 1;
        sealed(&mut sender, b"the last one");
        assert!(sender.seal(&mut [0; TAG]).is_err());
        assert_eq!(sender.counter, u64::MAX);
    }

    #[test]
    fn the_cipher_is_the_one_that_snow_would_have_used() {
        let params: snow::params::NoiseParams = "Noise_NN_25519_ChaChaPoly_SHA256".parse().unwrap();
        let mut one = snow::Builder::new(params.clone())
            .build_initiator()
            .unwrap();
        let mut two = snow::Builder::new(params).build_responder().unwrap();
        let (mut wire, mut out) = ([0; 256], [0; 256]);
        let n = one.write_message(&[], &mut wire).unwrap();
        two.read_message(&wire[..n], &mut out).unwrap();
        let n = two.write_message(&[], &mut wire).unwrap();
        one.read_message(&wire[..n], &mut out).unwrap();
        let (key, _) = two.dangerously_get_raw_split();
        let (mut ours, mut theirs) = (
            Cipher::new(&key).unwrap(),
            one.into_transport_mode().unwrap(),
        );
        for text in ["first", "second"] {
            let n = theirs.write_message(text.as_bytes(), &mut wire).unwrap();
            ours.open(&mut wire[..n]).unwrap();
            assert_eq!(&wire[..text.len()], text.as_bytes());
        }
    }
}
