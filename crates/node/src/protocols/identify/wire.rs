//! Identify's encoding: length-prefixed protobuf messages. A peer may split one message over several frames.

use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::IdentifyError;

/// The maximum length of a frame that this node sends, in bytes. rust-libp2p refuses longer frames.
pub const MAX_FRAME_SENT: usize = 4096;
/// The maximum length of a message that this node reads, in bytes.
pub const MAX_IDENTIFY_MESSAGE: usize = 64 * 1024;
/// The maximum number of frames in a message.
const MAX_FRAMES: usize = 10;

/// The message of the spec. A push may leave out what did not change.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(crate) public_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) listen_addrs: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) protocols: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(crate) observed_addr: Option<Vec<u8>>,
    #[prost(string, optional, tag = "5")]
    pub(crate) protocol_version: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub(crate) agent_version: Option<String>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(crate) signed_peer_record: Option<Vec<u8>>,
}

/// The fields of a signed envelope (libp2p RFC 0002) that are read before its signature is verified.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EnvelopeHead {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload_type: Vec<u8>,
}

/// Reads until the peer ends the stream, within the bounds.
pub(crate) async fn read(stream: impl AsyncRead + Unpin) -> Result<Message, IdentifyError> {
    let mut bytes = Vec::new();
    let limit = MAX_IDENTIFY_MESSAGE as u64 + 1;
    stream.take(limit).read_to_end(&mut bytes).await?;
    if bytes.len() > MAX_IDENTIFY_MESSAGE {
        return Err(IdentifyError::TooLong {
            limit: MAX_IDENTIFY_MESSAGE,
        });
    }
    merge(&bytes)?.ok_or(IdentifyError::Empty)
}

/// Decodes the frames in `bytes` into one message; protobuf messages merge field by field.
pub(crate) fn merge(mut bytes: &[u8]) -> Result<Option<Message>, IdentifyError> {
    let mut message: Option<Message> = None;
    let mut frames = 0;
    while !bytes.is_empty() {
        frames += 1;
        if frames > MAX_FRAMES {
            return Err(IdentifyError::TooManyFrames { limit: MAX_FRAMES });
        }
        let (length, rest) = unsigned_varint::decode::usize(bytes)
            .map_err(|error| IdentifyError::Malformed(error.to_string()))?;
        let frame = rest.get(..length).ok_or_else(|| {
            let held = rest.len();
            IdentifyError::Malformed(format!("a frame of {length} bytes holds only {held}"))
        })?;
        message
            .get_or_insert_default()
            .merge(frame)
            .map_err(|error| IdentifyError::Malformed(error.to_string()))?;
        bytes = &rest[length..];
    }
    Ok(message)
}

/// Encodes `message` into one frame, because some peers read only the first frame. A message that is longer than
/// [`MAX_FRAME_SENT`] becomes several frames, which share the repeated fields. An entry that is too long for a frame is
/// left out.
pub(crate) fn encode(message: Message) -> Vec<u8> {
    if message.encoded_len() <= MAX_FRAME_SENT {
        return message.encode_length_delimited_to_vec();
    }
    let mut head = message;
    let addresses = std::mem::take(&mut head.listen_addrs);
    let protocols = std::mem::take(&mut head.protocols);
    let record = head.signed_peer_record.take();
    let mut frames = Frames::starting_with(head);
    for protocol in protocols {
        frames.add(|m| m.protocols.push(protocol.clone()));
    }
    for address in addresses {
        frames.add(|m| m.listen_addrs.push(address.clone()));
    }
    if let Some(record) = record {
        frames.add(|m| m.signed_peer_record = Some(record.clone()));
    }
    frames.finish()
}

struct Frames {
    current: Message,
    done: Vec<u8>,
    count: usize,
}

impl Frames {
    fn starting_with(current: Message) -> Self {
        Self {
            current,
            done: Vec::new(),
            count: 0,
        }
    }

    fn add(&mut self, put: impl Fn(&mut Message)) {
        let mut grown = self.current.clone();
        put(&mut grown);
        if grown.encoded_len() <= MAX_FRAME_SENT {
            self.current = grown;
            return;
        }
        let mut alone = Message::default();
        put(&mut alone);
        if alone.encoded_len() <= MAX_FRAME_SENT && self.count + 1 < MAX_FRAMES {
            self.flush();
            self.current = alone;
        }
    }

    fn flush(&mut self) {
        let frame = self.current.encode_length_delimited_to_vec();
        self.done.extend_from_slice(&frame);
        self.count += 1;
    }

    fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.done
    }
}
