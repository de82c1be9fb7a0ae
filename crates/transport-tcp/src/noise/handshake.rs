//! The handshake: three messages. The payload of each side's last message contains its identity.

use std::io;

use snow::{HandshakeState, params::NoiseParams};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::{MAX_NOISE_MESSAGE, PREFIX, TAG, cipher::Cipher, payload, stream::NoiseStream};
use crate::{
    Keypair, NoiseError, PeerId, known::Known, negotiate::YAMUX, readahead::ReadAhead,
    security::Secured,
};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_SHA256";

/// The longest handshake message that is taken. An RSA identity of 8192 bits with its
/// signature and extensions is under 3 KiB.
const MAX_HANDSHAKE: usize = 8 * 1024;

/// What all connections of one identity share.
pub(crate) struct Noise {
    params: NoiseParams,
    static_key: Zeroizing<Vec<u8>>,
    payload: Vec<u8>,
    known: Known,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Initiator,
    Responder,
}

impl Noise {
    pub(crate) fn new(identity: &Keypair) -> Result<Self, io::Error> {
        let params: NoiseParams = PATTERN.parse().map_err(io::Error::other)?;
        let key = snow::Builder::new(params.clone()).generate_keypair();
        let key = key.map_err(io::Error::other)?;
        let payload = payload::encode(identity, &key.public).map_err(io::Error::other)?;
        Ok(Self {
            params,
            static_key: Zeroizing::new(key.private),
            payload,
            known: Known::default(),
        })
    }

    pub(crate) async fn connect<S>(
        &self,
        io: ReadAhead<S>,
        expected: Option<PeerId>,
    ) -> Result<Secured<NoiseStream<S>>, NoiseError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut exchange = Exchange::new(io, self.start(Role::Initiator)?);
        exchange.send(&[]).await?;
        let payload = exchange.receive().await?;
        let remote = exchange.verify(&payload, expected, &self.known)?;
        exchange.send(&self.payload).await?;
        exchange.finish(remote)
    }

    pub(crate) async fn accept<S>(
        &self,
        io: ReadAhead<S>,
    ) -> Result<Secured<NoiseStream<S>>, NoiseError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut exchange = Exchange::new(io, self.start(Role::Responder)?);
        exchange.receive().await?;
        exchange.send(&self.payload).await?;
        let payload = exchange.receive().await?;
        let remote = exchange.verify(&payload, None, &self.known)?;
        exchange.finish(remote)
    }

    fn start(&self, role: Role) -> Result<HandshakeState, NoiseError> {
        let builder = snow::Builder::new(self.params.clone());
        let builder = builder.local_private_key(&self.static_key);
        let built = builder.and_then(|builder| match role {
            Role::Initiator => builder.build_initiator(),
            Role::Responder => builder.build_responder(),
        });
        built.map_err(invalid)
    }
}

struct Exchange<S> {
    io: ReadAhead<S>,
    state: HandshakeState,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<S> {
    fn new(io: ReadAhead<S>, state: HandshakeState) -> Self {
        Self { io, state }
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), NoiseError> {
        // Two keys and two tags are the most that a message of XX adds.
        let mut message = vec![0; PREFIX + payload.len() + 2 * (32 + TAG)];
        let written = self.state.write_message(payload, &mut message[PREFIX..]);
        let length = written.map_err(invalid)?;
        let prefix = u16::try_from(length).map_err(|_| NoiseError::TooLong {
            length,
            limit: MAX_NOISE_MESSAGE,
        })?;
        message[..PREFIX].copy_from_slice(&prefix.to_be_bytes());
        self.io.write_all(&message[..PREFIX + length]).await?;
        self.io.flush().await?;
        Ok(())
    }

    async fn receive(&mut self) -> Result<Vec<u8>, NoiseError> {
        let length = usize::from(self.io.read_u16().await?);
        if length > MAX_HANDSHAKE {
            return Err(NoiseError::TooLong {
                length,
                limit: MAX_HANDSHAKE,
            });
        }
        let mut message = vec![0; length];
        self.io.read_exact(&mut message).await?;
        let mut payload = vec![0; length];
        let read = self.state.read_message(&message, &mut payload);
        let length = read.map_err(invalid)?;
        payload.truncate(length);
        Ok(payload)
    }

    fn verify(
        &self,
        payload: &[u8],
        expected: Option<PeerId>,
        known: &Known,
    ) -> Result<payload::Remote, NoiseError> {
        let static_key = self.state.get_remote_static().unwrap_or_default();
        payload::verify(payload, static_key, expected, known)
    }

    fn finish(mut self, remote: payload::Remote) -> Result<Secured<NoiseStream<S>>, NoiseError> {
        // The first of the initiator's muxers that the responder has too, and we have but one. A
        // peer that names none knows nothing of this way of settling it.
        let muxer_settled = !remote.muxers.is_empty();
        if muxer_settled && !remote.muxers.iter().any(|muxer| muxer == YAMUX) {
            return Err(NoiseError::NoMuxer);
        }
        let (io, read) = self.io.into_parts();
        // Noise spec section 5.3: the first key is for what the initiator sends.
        let (first, second) = self.state.dangerously_get_raw_split();
        let (first, second) = (Zeroizing::new(first), Zeroizing::new(second));
        let cipher = |key: &[u8]| Cipher::new(key).map_err(io::Error::other);
        let (opener, sealer) = match self.state.is_initiator() {
            true => (cipher(&*second)?, cipher(&*first)?),
            false => (cipher(&*first)?, cipher(&*second)?),
        };
        Ok(Secured {
            stream: NoiseStream::new(io, opener, sealer, read),
            peer: remote.peer,
            muxer_settled,
        })
    }
}

fn invalid(error: snow::Error) -> NoiseError {
    NoiseError::Cipher(io::Error::new(io::ErrorKind::InvalidData, error))
}
