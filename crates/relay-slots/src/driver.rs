//! Hop and stop over tokio's streams. It reads, writes and waits; server and client decide.
//!
//! Each function takes a stream on which its protocol has been negotiated, reads not a byte past its message, and has a
//! deadline. Dropped, they leave nothing behind but a stream in the middle of a message, which the host then resets; a
//! circuit that was under way is given back to the table.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use libp2p_identity::PeerId;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout},
};

use crate::{
    Admission, Answer, CircuitId, ConnectionId, HopAnswer, Meter, Refusal, Server, SpliceConfig,
    SpliceEnd, Status, StopAnswer, splice,
    wire::{Frames, HopMessage, Limit, StopMessage, Voucher, WireError},
};

/// How long a message may take to come, or to be taken.
const MESSAGE: Duration = Duration::from_secs(15);

/// Why no message came or went.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[from] io::Error),
    /// What came is no message, or what was to go is too long.
    #[error("not a message")]
    Wire(#[from] WireError),
    /// The other end took too long.
    #[error("nothing within {0:?}")]
    TimedOut(Duration),
    /// It was a message that has no place here.
    #[error("a message that has no place here")]
    Unexpected,
    /// The other end said no.
    #[error("refused: {0}")]
    Refused(Status),
}

/// What became of a hop stream at the relay.
#[derive(Debug)]
#[non_exhaustive]
pub enum Relayed<S> {
    /// A request was answered, and that is all. Close the stream.
    Answered {
        /// Why it was refused, if the table did.
        refusal: Option<Refusal>,
    },
    /// A circuit was open and is over. Unless it ended by itself, reset both streams.
    Spliced {
        /// How it ended.
        end: SpliceEnd,
        /// The stream to the destination.
        stop: S,
    },
    /// The stream did not do what it should. Reset it.
    Failed(DriveError),
}

/// Serves one hop stream of a connection: `open` opens a stop stream over another one. What goes over the circuit is
/// counted while it does.
pub async fn relay<A, H, S, F>(
    server: &Mutex<Server<A>>,
    connection: ConnectionId,
    hop: &mut H,
    open: impl FnOnce(ConnectionId) -> F,
    meter: &Meter,
) -> Relayed<S>
where
    A: Admission<PeerId>,
    H: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = io::Result<S>>,
{
    let message = match read(hop, MESSAGE).await {
        Ok(body) => HopMessage::decode(&body),
        Err(DriveError::Wire(error)) => Err(error),
        Err(error) => return Relayed::Failed(error),
    };
    let answer = lock(server).handle_hop(now(), unix(), connection, message);
    let (circuit, connection, request, within) = match answer {
        HopAnswer::Reply { message, refusal } => {
            return match write(hop, message.encode()).await {
                Ok(()) => Relayed::Answered { refusal },
                Err(error) => Relayed::Failed(error),
            };
        }
        HopAnswer::Open {
            circuit,
            connection,
            request,
            within,
        } => (circuit, connection, request, within),
    };
    let _held = Held { server, circuit };
    let asked = timeout(within, ask(open(connection), request)).await;
    let (stop, answer) = match asked {
        Ok(Ok((stop, answer))) => (Some(stop), Some(answer)),
        Ok(Err(_)) | Err(_) => (None, None),
    };
    let answer = lock(server).handle_stop(now(), circuit, answer);
    match (answer, stop) {
        (
            StopAnswer::Splice {
                message,
                duration,
                data,
            },
            Some(mut stop),
        ) => {
            if let Err(error) = write(hop, message.encode()).await {
                return Relayed::Failed(error);
            }
            let config = SpliceConfig::default().with_limits(data, duration);
            let end = splice(hop, &mut stop, &config, meter).await;
            Relayed::Spliced { end, stop }
        }
        (StopAnswer::Reply(message) | StopAnswer::Splice { message, .. }, _) => {
            match write(hop, message.encode()).await {
                Ok(()) => Relayed::Answered { refusal: None },
                Err(error) => Relayed::Failed(error),
            }
        }
    }
}

/// Asks a relay for a slot, or for more time, on a new hop stream. A voucher that is worth nothing is left out: it is
/// advisory.
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
            (Status::Ok, None) => Answer::Failed("granted, but not what".to_owned()),
            (status, _) => Answer::Refused(status),
        })
    };
    answer.await.unwrap_or_else(|error: DriveError| {
        let source = std::error::Error::source(&error);
        let why = source.map(|source| format!("{error}: {source}"));
        Answer::Failed(why.unwrap_or_else(|| error.to_string()))
    })
}

/// Opens a circuit to `destination` on a new hop stream, which is the circuit once this returns. `within` is how long the
/// relay may take: it waits for the destination meanwhile.
///
/// # Errors
///
/// There is no circuit.
pub async fn connect(
    hop: &mut (impl AsyncRead + AsyncWrite + Unpin),
    destination: PeerId,
    within: Duration,
) -> Result<Option<Limit>, DriveError> {
    write(hop, HopMessage::Connect(destination).encode()).await?;
    match HopMessage::decode(&read(hop, within).await?)? {
        HopMessage::Status {
            status: Status::Ok,
            limit,
            ..
        } => Ok(limit),
        HopMessage::Status { status, .. } => Err(DriveError::Refused(status)),
        HopMessage::Reserve | HopMessage::Connect(_) => Err(DriveError::Unexpected),
    }
}

/// Answers a stop stream that a relay opened, by what [`crate::Client::accept`] says of that relay. The stream is the
/// circuit once this returns; told is who is at its other end, by the relay's word.
///
/// # Errors
///
/// There is no circuit.
pub async fn accept(
    stop: &mut (impl AsyncRead + AsyncWrite + Unpin),
    accepted: Result<(), Status>,
) -> Result<(PeerId, Option<Limit>), DriveError> {
    let message = match read(stop, MESSAGE).await {
        Ok(body) => StopMessage::decode(&body).map_err(DriveError::from),
        Err(error) => Err(error),
    };
    let (answer, outcome) = match (message, accepted) {
        (Ok(StopMessage::Connect { peer, limit }), Ok(())) => (Status::Ok, Ok((peer, limit))),
        (Ok(StopMessage::Connect { .. }), Err(status)) => {
            (status, Err(DriveError::Refused(status)))
        }
        (Ok(StopMessage::Status(_)), _) => (Status::UnexpectedMessage, Err(DriveError::Unexpected)),
        (Err(DriveError::Wire(error)), _) => (Status::MalformedMessage, Err(error.into())),
        (Err(error), _) => return Err(error),
    };
    write(stop, StopMessage::Status(answer).encode()).await?;
    outcome
}

/// Gives a circuit back to the table, whatever happens to the task.
struct Held<'a, A: Admission<PeerId>> {
    server: &'a Mutex<Server<A>>,
    circuit: CircuitId,
}

impl<A: Admission<PeerId>> Drop for Held<'_, A> {
    fn drop(&mut self) {
        lock(self.server).handle_closed(now(), self.circuit);
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    open: impl Future<Output = io::Result<S>>,
    request: StopMessage,
) -> Result<(S, StopMessage), DriveError> {
    let mut stop = open.await?;
    write(&mut stop, request.encode()).await?;
    let answer = StopMessage::decode(&body(&mut stop).await?)?;
    Ok((stop, answer))
}

async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    within: Duration,
) -> Result<Vec<u8>, DriveError> {
    let in_time = timeout(within, body(stream)).await;
    in_time.map_err(|_| DriveError::TimedOut(within))?
}

/// One message's body, and not a byte more. The caller has the deadline.
async fn body(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, DriveError> {
    let (mut frames, mut buffer) = (Frames::default(), Vec::new());
    loop {
        buffer.resize(frames.wanted(), 0);
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

async fn write(
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

fn lock<A>(server: &Mutex<Server<A>>) -> MutexGuard<'_, Server<A>> {
    // Each operation checks before it changes: what a panic elsewhere left is whole.
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
