//! Serves HTTP/1.1 on a listener, with bounds on connections, sizes and time.
//!
//! | bound | value | beyond the bound |
//! | --- | --- | --- |
//! | simultaneous connections | 32 per listener | further connections wait in the kernel's queue |
//! | request line and headers | 16 KiB | the request is refused with 431 |
//! | time for the request line and headers | 5 s | the connection is closed |
//! | time for the whole exchange | 30 s, except for an answer of lines | the connection is cut |
//! | requests per connection | 1 | the connection is closed |
//! | file descriptors in reserve | 4 per listener | the listener pauses for 100 ms before it accepts further connections |

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    accept::{Acceptor, Socket},
    queries::Endless,
};

/// The number of connections that a listener serves at once.
const MAX_CONNECTIONS: usize = 32;

/// The maximum length of the request line and the headers, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The time limit for the request line and the headers.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// The time limit for one connection, except for an answer of lines.
const EXCHANGE_TIME: Duration = Duration::from_secs(30);

/// The time for the last answers after the endpoint stops accepting.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves until `stop` fires.
pub(super) async fn run<S: Socket>(
    mut listener: Acceptor<S>,
    app: Router,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                connections.spawn(exchange(stream, app.clone()));
            }
            Some(_) = connections.join_next() => listener.refill(),
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(LAST_ANSWERS, rest).await;
}

/// Answers one request.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, app: Router) {
    let endless = Arc::new(AtomicBool::new(false));
    let is_endless = Arc::clone(&endless);
    let app = TowerToHyperService::new(app);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (answer, endless) = (app.call(request), Arc::clone(&endless));
        async move {
            let response = answer.await?;
            let is_endless = response.extensions().get::<Endless>().is_some();
            endless.store(is_endless, Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let overdue = async {
        sleep(EXCHANGE_TIME).await;
        if is_endless.load(Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::debug!(%error, "an admin connection failed");
        },
        () = overdue => tracing::debug!("an admin connection took too long"),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Bytes, routing::post};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        net::{UnixListener, UnixStream},
        time::Instant,
    };

    use super::*;

    fn app() -> Router {
        Router::new().route("/", post(async |body: Bytes| body.len().to_string()))
    }

    /// The client's end of a connection.
    fn connected() -> DuplexStream {
        let (here, there) = duplex(64 * 1024);
        tokio::spawn(exchange(there, app()));
        here
    }

    /// The answer after some bytes, and the time until the connection ends.
    async fn after(bytes: &[u8]) -> (String, Duration) {
        let (mut stream, started) = (connected(), Instant::now());
        // The server may close the connection before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        (answer, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_and_a_slow_head_end_after_5_s_and_a_slow_body_after_30_s() {
        assert_eq!(after(b"").await, (String::new(), HEAD_TIME));
        assert_eq!(after(b"POST / HTTP/1.1\r\nhost: x").await.1, HEAD_TIME);
        let head = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n1";
        assert_eq!(after(head).await, (String::new(), EXCHANGE_TIME));
        let (answer, _) = after(b"POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\n1").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_beyond_16_kib_is_refused() {
        let of_length =
            |length: usize| format!("POST / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(length));
        let (answer, _) = after(of_length(MAX_HEAD - 100).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (answer, took) = after(of_length(MAX_HEAD).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert_eq!(took, Duration::ZERO);
    }

    #[tokio::test]
    async fn a_33rd_connection_waits_until_another_one_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(run(Acceptor::new(listener), app(), stop.clone()));
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(UnixStream::connect(&path).await.unwrap());
        }
        let mut late = UnixStream::connect(&path).await.unwrap();
        late.write_all(b"POST / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        // Far longer than the time of an answer, and far shorter than the time limit of the other connections.
        let early = timeout(Duration::from_millis(300), late.read_exact(&mut answer)).await;
        assert!(early.is_err());
        silent.pop();
        late.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        stop.cancel();
        server.await.unwrap();
    }
}
