//! The bounds on the bytes that a peer may send to negotiate the protocol of a stream.
//!
//! The node keeps a message of multistream-select until the message is complete, and answers each request for the list of
//! protocols with the whole list. A peer may open many streams, so a stream in negotiation must take little memory.

use std::io;

/// The bytes of one negotiation, including the lengths of the messages. A peer that proposes 100 protocols one by one sends
/// fewer bytes.
pub(super) const MAX_TALK: usize = 4096;

/// The bytes of one message. The name of a protocol has at most 256 bytes.
const MAX_NEGOTIATION_MESSAGE: usize = 1024;

/// The number of requests for the list of protocols.
const MAX_LISTS: usize = 1;

const LIST: &[u8] = b"ls\n";

/// Parses the bytes of a peer message by message. It does not read the bytes from the stream.
#[derive(Debug)]
pub(super) struct Talk {
    /// The bytes that the peer may still send.
    left: usize,
    lists: usize,
    /// The messages until the end of the negotiation, if that is known.
    messages: Option<usize>,
    /// The bits of the length that is being read, and their number.
    length: usize,
    bits: u32,
    /// The number of bytes of the message that have not arrived, and its first bytes.
    body: usize,
    start: Vec<u8>,
}

impl Talk {
    /// A negotiation whose end this side knows.
    pub(super) fn new() -> Self {
        Self {
            left: MAX_TALK,
            lists: MAX_LISTS,
            messages: None,
            length: 0,
            bits: 0,
            body: 0,
            start: Vec::new(),
        }
    }

    /// The answer to a single proposal: the header, and the agreement or refusal.
    pub(super) fn answer() -> Self {
        Self {
            messages: Some(2),
            ..Self::new()
        }
    }

    /// Whether the negotiation is over. `settled` says whether this side knows the protocol.
    pub(super) fn is_over(&self, settled: bool) -> bool {
        settled && self.messages.is_none_or(|left| left == 0)
    }

    /// Processes bytes of the peer.
    pub(super) fn handle_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(too_long)?;
        for byte in bytes {
            match self.body {
                0 => self.handle_length(*byte)?,
                _ => self.handle_body(*byte)?,
            }
        }
        Ok(())
    }

    fn handle_length(&mut self, byte: u8) -> io::Result<()> {
        if self.bits > 14 {
            return Err(too_long());
        }
        self.length |= usize::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        if self.length > MAX_NEGOTIATION_MESSAGE {
            return Err(too_long());
        }
        if byte & 0x80 == 0 {
            self.body = std::mem::take(&mut self.length);
            self.bits = 0;
            self.start.clear();
            if self.body == 0 {
                self.end_message()?;
            }
        }
        Ok(())
    }

    fn handle_body(&mut self, byte: u8) -> io::Result<()> {
        self.body -= 1;
        if self.start.len() <= LIST.len() {
            self.start.push(byte);
        }
        match self.body {
            0 => self.end_message(),
            _ => Ok(()),
        }
    }

    fn end_message(&mut self) -> io::Result<()> {
        self.messages = self.messages.map(|left| left.saturating_sub(1));
        if self.start == LIST {
            self.lists = self.lists.checked_sub(1).ok_or_else(too_long)?;
        }
        Ok(())
    }
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the peer says too much before it settles on a protocol",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &[u8]) -> Vec<u8> {
        let length = text.len();
        match u8::try_from(length) {
            Ok(short @ ..128) => [&[short][..], text].concat(),
            _ => [
                &[(length & 0x7f) as u8 | 0x80, (length >> 7) as u8][..],
                text,
            ]
            .concat(),
        }
    }

    #[test]
    fn a_peer_may_say_4096_bytes_in_messages_of_1024() {
        let mut talk = Talk::new();
        let longest = message(&[b'a'; MAX_NEGOTIATION_MESSAGE]);
        for _ in 0..3 {
            talk.handle_read(&longest).unwrap();
        }
        talk.handle_read(&message(&vec![b'a'; MAX_TALK - 3 * longest.len() - 2]))
            .unwrap();
        assert!(talk.handle_read(&[0]).is_err());

        let too_long = message(&[b'a'; MAX_NEGOTIATION_MESSAGE + 1]);
        let mut talk = Talk::new();
        talk.handle_read(&too_long[..1]).unwrap();
        assert!(talk.handle_read(&too_long[1..2]).is_err());
    }

    #[test]
    fn a_length_that_never_ends_is_refused() {
        assert!(Talk::new().handle_read(&[0x80; 4]).is_err());
    }

    #[test]
    fn a_peer_may_ask_for_the_list_once() {
        let mut talk = Talk::new();
        talk.handle_read(&message(b"ls\n")).unwrap();
        talk.handle_read(&message(b"lst\n")).unwrap();
        assert!(talk.handle_read(&message(b"ls\n")).is_err());
    }

    #[test]
    fn an_answer_is_over_after_two_messages() {
        let mut talk = Talk::answer();
        let answer = [message(b"/multistream/1.0.0\n"), message(b"/a\n")].concat();
        let (last, first) = answer.split_last().unwrap();
        talk.handle_read(first).unwrap();
        assert!(!talk.is_over(true));
        talk.handle_read(&[*last]).unwrap();
        assert!(talk.is_over(true));
        assert!(Talk::new().is_over(true) && !Talk::new().is_over(false));
    }
}
