//! Messages over a stream, each with a deadline.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use libp2p_identity::PeerId;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::DriveError;
use crate::{
    client::{Answer, AskError},
    error::Status,
    wire::{Frames, HopMessage, StopMessage, Voucher, WireError},
};

/// How long one message may take to be read or written.
pub(super) const MESSAGE: Duration = Duration::from_secs(15);

/// How long the first message of a stream may take. Its sender writes it together with the negotiation of the protocol.
pub(super) const REQUEST: Duration = Duration::from_secs(5);

/// The most bytes that are read at a time. A sender that claims a long message and sends nothing costs no more memory.
const PIECE: usize = 256;

/// How long a stream may take to accept its end.
pub(super) const CLOSE: Duration = Duration::from_secs(5);

/// Asks a relay for a slot, or for its renewal, on a new hop stream. The answer leaves out an invalid voucher, because
/// vouchers are advisory.
pub async fn reserve(
    hop: &mut (impl AsyncRead + AsyncWrite + Unpin),
    relay: PeerId,
    local: PeerId,
) -> Answer {
    let answer = async {
        write(hop, HopMessage::Reserve.encode()).await?;
        let message = HopMessage::decode(&read(hop, MESSAGE).await?)?;
        let HopMessage::Status {
            status,
            reservation,
            limit,
        } = message
        else {
            return Err(DriveError::Unexpected);
        };
        Ok(match (status, reservation) {
            (Status::Ok, Some(mut reservation)) => {
                let opens = |sealed: &Vec<u8>| Voucher::open(sealed, relay, local, unix()).is_ok();
                reservation.voucher = reservation.voucher.filter(opens);
                Answer::Granted { reservation, limit }
            }
            (Status::Ok, None) => Answer::Failed(AskError::Empty),
            (status, _) => Answer::Refused(status),
        })
    };
    answer.await.unwrap_or_else(|error| match error {
        DriveError::Io(error) => Answer::Failed(AskError::Broken { kind: error.kind() }),
        DriveError::Wire(error) => Answer::Failed(AskError::Malformed(error)),
        DriveError::TimedOut(within) => Answer::Failed(AskError::NoAnswer { within }),
        DriveError::Unexpected => Answer::Failed(AskError::Unexpected),
        DriveError::Refused(status) => Answer::Refused(status),
    })
}

pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    within: Duration,
) -> Result<Vec<u8>, DriveError> {
    let in_time = timeout(within, body(stream)).await;
    in_time.map_err(|_| DriveError::TimedOut(within))?
}

/// The body of one message, and not a byte more. The caller has a deadline.
pub(super) async fn body(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, DriveError> {
    let (mut frames, mut buffer) = (Frames::default(), Vec::new());
    loop {
        buffer.resize(frames.wanted().min(PIECE), 0);
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut input = &buffer[..length];
        if let Some(body) = frames.next(&mut input)? {
            return Ok(body);
        }
    }
}

pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: Result<Vec<u8>, WireError>,
) -> Result<(), DriveError> {
    let message = message?;
    let written = async {
        stream.write_all(&message).await?;
        stream.flush().await
    };
    let in_time = timeout(MESSAGE, written).await;
    Ok(in_time.map_err(|_| DriveError::TimedOut(MESSAGE))??)
}

/// Ends a stream so that what was written arrives. A stream that does not accept its end in time is dropped.
pub(super) async fn end(mut stream: impl AsyncWrite + Unpin) {
    // Whether the other end still reads its answer is its own affair.
    let _ = timeout(CLOSE, stream.shutdown()).await;
}

pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

pub(super) fn unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// `None`: the destination did not answer, or could not be reached.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin, E>(
    open: impl Future<Output = Result<S, E>>,
    request: StopMessage,
) -> Option<(S, StopMessage)> {
    let mut stop = open.await.ok()?;
    write(&mut stop, request.encode()).await.ok()?;
    let body = body(&mut stop).await.ok()?;
    let answer = StopMessage::decode(&body).ok()?;
    Some((stop, answer))
}
