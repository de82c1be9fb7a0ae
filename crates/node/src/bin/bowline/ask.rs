//! Queries of the running node through its admin endpoint: `bowline peers`, `events` and `why`.

use std::{error::Error, path::PathBuf, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Bytes, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use node::{
    admin::{self, Endpoint, Token},
    error_chain,
};
use serde_json::Value;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_util::either::Either;

use crate::{cli::Asking, failure::Failure, multiaddr, output::Output, settings};

/// The time limit for the start of an answer, and again for its completion.
const PATIENCE: Duration = Duration::from_secs(5);

/// The maximum length of an answer. About 100,000 peers fit into it.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The maximum length of an error text.
const MAX_REASON: usize = 4096;

/// The maximum length of a line of an answer.
const MAX_LINE: usize = MAX_ANSWER;

/// A query of the admin endpoint.
pub(crate) struct Question<'a> {
    /// The path, with its parameters.
    pub(crate) path: &'a str,
    /// The JSON of a POST. `None`: a GET.
    pub(crate) body: Option<&'a Value>,
    /// The error if the node has no such path.
    pub(crate) unknown: &'a str,
}

impl<'a> Question<'a> {
    /// A query that every node answers.
    fn common(path: &'a str) -> Self {
        Self {
            path,
            body: None,
            unknown: "the admin endpoint does not support this query: is it the admin endpoint of a Bowline node?",
        }
    }
}

pub(crate) async fn peers(asking: Asking, output: Output) -> Result<(), Failure> {
    let answer = answer(&asking, &Question::common("/peers")).await?;
    output.heading(|| {
        row([
            "peer",
            "peer state",
            "connection",
            "direction",
            "seconds",
            "RTT in ms",
            "streams",
            "address",
        ])
    })?;
    for peer in answer.as_array().into_iter().flatten() {
        output.line(peer, || describe_peer(peer))?;
    }
    Ok(())
}

fn describe_peer(peer: &Value) -> String {
    let state = match peer["reason"].as_str() {
        Some(reason) => format!("{} ({reason})", text(peer, "state")),
        None => text(peer, "state").to_owned(),
    };
    let rtt = peer["rtt_us"].as_f64();
    let rtt = rtt.map_or_else(|| "-".to_owned(), |micros| format!("{:.1}", micros / 1e3));
    row([
        text(peer, "peer_id"),
        &state,
        text(peer, "phase"),
        text(peer, "direction"),
        &peer["age_s"].to_string(),
        &rtt,
        &peer["streams"].as_u64().unwrap_or(0).to_string(),
        peer["address"].as_str().unwrap_or("-"),
    ])
}

fn row([peer, state, phase, direction, age, rtt, streams, address]: [&str; 8]) -> String {
    format!(
        "{peer:<52}  {state:<23}  {phase:<11}  {direction:<9}  {age:>8}  {rtt:>9}  {streams:>7}  {address}"
    )
}

pub(crate) async fn why(peer: String, asking: Asking, output: Output) -> Result<(), Failure> {
    let peer = multiaddr::peer_id(&peer).map_err(Failure::usage)?;
    let path = format!("/why?peer={peer}");
    let answer = answer(&asking, &Question::common(&path)).await?;
    let events = answer["events"].as_array();
    let events = events.filter(|events| !events.is_empty());
    let Some(events) = events else {
        let problem = format!("the node remembers no change of the state of {peer}");
        return Err(Failure::job(problem));
    };
    for event in events {
        output.lines(event, || plain(event))?;
    }
    Ok(())
}

pub(crate) async fn events(asking: Asking, output: Output) -> Result<(), Failure> {
    let each = |event: &Value| output.lines(event, || plain(event));
    lines(&asking, &Question::common("/events"), each).await
}

/// Reads an answer of one JSON object per line until its end, which is the end of the query or of the node.
pub(crate) async fn lines(
    asking: &Asking,
    question: &Question<'_>,
    mut each: impl FnMut(&Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (response, at) = send(asking, question).await?;
    let mut body = response.into_body();
    let mut read: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&at, &error))?;
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = read.drain(..=end).collect();
            let line: Value = serde_json::from_slice(&line).map_err(|error| broken(&at, &error))?;
            each(&line)?;
        }
        if read.len() > MAX_LINE {
            let problem = format!("the admin endpoint at {at} sent a line over {MAX_LINE} bytes");
            return Err(Failure::job(problem));
        }
    }
    Ok(())
}

fn plain(event: &Value) -> Vec<String> {
    match text(event, "event") {
        "snapshot" => {
            let peers = event["peers"].as_array().map_or(&[][..], |peers| peers);
            let peers = peers
                .iter()
                .map(|peer| format!("{} is {}", text(peer, "peer_id"), text(peer, "state")));
            let lines: Vec<_> = peers.collect();
            match lines.is_empty() {
                true => vec!["no peer is connected".to_owned()],
                false => lines,
            }
        }
        "lagged" => vec![format!("{} events were missed", event["missed"])],
        _ => {
            let detail = event["detail"].as_str().map(|detail| format!(": {detail}"));
            vec![format!(
                "{} {} -> {}, {}{} (connection {})",
                text(event, "peer_id"),
                text(event, "from"),
                text(event, "to"),
                text(event, "cause"),
                detail.unwrap_or_default(),
                text(event, "connection"),
            )]
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The node's answer to a query.
pub(crate) async fn answer(asking: &Asking, question: &Question<'_>) -> Result<Value, Failure> {
    let (response, at) = send(asking, question).await?;
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
    let body = timeout(PATIENCE, body).await.map_err(|_| {
        let seconds = PATIENCE.as_secs();
        Failure::job(format!(
            "the admin endpoint at {at} did not complete its answer within {seconds} s"
        ))
    })?;
    let body = body.map_err(|error| broken(&at, &*error))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| broken(&at, &error))
}

/// Sends a query. Returns the response, if its status is 200, and the address of the endpoint.
///
/// The token is sent only to a TCP address that asks for it.
async fn send(
    asking: &Asking,
    question: &Question<'_>,
) -> Result<(Response<Incoming>, Endpoint), Failure> {
    let (mut response, at) = patiently(asking, exchange(asking, question, None)).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        let token = token(asking, &at)?;
        (response, _) = patiently(asking, exchange(asking, question, Some(&token))).await?;
    }
    match response.status() {
        StatusCode::OK => Ok((response, at)),
        _ => Err(refusal(&at, response, question.unknown).await),
    }
}

async fn patiently<T>(
    asking: &Asking,
    job: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Ok(outcome) = timeout(PATIENCE, job).await else {
        let seconds = PATIENCE.as_secs();
        let at = match asking.admin {
            Some(address) => format!("at {}", Endpoint::Tcp(address)),
            None => format!("of the data directory {}", data_dir(asking)?.display()),
        };
        return Err(Failure::job(format!(
            "the admin endpoint {at} did not answer within {seconds} s"
        )));
    };
    outcome
}

async fn exchange(
    asking: &Asking,
    question: &Question<'_>,
    token: Option<&Token>,
) -> Result<(Response<Incoming>, Endpoint), Failure> {
    let (stream, at) = connect(asking).await?;
    let (mut request, body) = match question.body {
        None => (Request::get(question.path), Bytes::new()),
        Some(body) => {
            let request = Request::post(question.path).header("content-type", "application/json");
            (request, body.to_string().into())
        }
    };
    let host = asking.admin.map(|at| at.to_string());
    request = request.header("host", host.as_deref().unwrap_or("localhost"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.text()));
    }
    let request = request.body(Full::new(body));
    let request = request.map_err(|error| broken(&at, &error))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(&at, &error))?;
    // The task ends with the answer.
    tokio::spawn(connection);
    let response = sender.send_request(request).await;
    Ok((response.map_err(|error| broken(&at, &error))?, at))
}

/// Connects to the admin endpoint of the running node.
async fn connect(asking: &Asking) -> Result<(Either<UnixStream, TcpStream>, Endpoint), Failure> {
    let Some(address) = asking.admin else {
        let connected = admin::connect(&data_dir(asking)?).await;
        let (stream, at) = connected.map_err(Failure::job_error)?;
        return Ok((Either::Left(stream), at));
    };
    let at = Endpoint::Tcp(address);
    let stream = TcpStream::connect(address).await.map_err(|error| {
        Failure::job(format!("cannot reach the admin endpoint at {at}: {error}"))
    })?;
    Ok((Either::Right(stream), at))
}

pub(crate) fn data_dir(asking: &Asking) -> Result<PathBuf, Failure> {
    match &asking.data_dir {
        Some(data_dir) => Ok(data_dir.clone()),
        None => settings::default_data_dir(),
    }
}

fn token(asking: &Asking, at: &Endpoint) -> Result<Token, Failure> {
    let data_dir = data_dir(asking)?;
    Token::read(&data_dir).map_err(|error| {
        let path = Token::path(&data_dir);
        let path = path.display();
        Failure::job(format!(
            "the admin endpoint at {at} asks for its token, but {path} cannot be read ({error}): set --data-dir to the node's data directory"
        ))
    })
}

fn broken(at: &Endpoint, error: &(dyn Error + 'static)) -> Failure {
    let cause = error_chain(error);
    Failure::job(format!(
        "the query of the admin endpoint at {at} failed: {cause}"
    ))
}

/// The failure for a response with another status than 200. The text of a client error is the message.
async fn refusal(at: &Endpoint, response: Response<Incoming>, unknown: &str) -> Failure {
    let status = response.status();
    let reason = Limited::new(response.into_body(), MAX_REASON).collect();
    let reason = timeout(PATIENCE, reason).await.ok().and_then(Result::ok);
    let reason = reason.map(|reason| reason.to_bytes()).unwrap_or_default();
    match (status, String::from_utf8_lossy(&reason).trim()) {
        (StatusCode::NOT_FOUND, "") => Failure::job(unknown),
        (status, reason) if status.is_client_error() && !reason.is_empty() => Failure::job(reason),
        _ => Failure::job(format!("the admin endpoint at {at} answered {status}")),
    }
}
