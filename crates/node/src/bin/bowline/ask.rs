//! `bowline peers`, `events` and `why`: what the running node says at its admin endpoint.

use std::{fs, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode, body::Bytes, body::Incoming, client::conn::http1, http,
};
use hyper_util::rt::TokioIo;
use node::PeerId;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use crate::{cli::Asking, failure::Failure, output::Output, settings};

/// How long the node may take to begin its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer that is read, some hundred thousand peers.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The longest answer to a question that cannot be answered.
const MAX_REASON: usize = 4096;

/// The longest line of the events.
const MAX_LINE: usize = MAX_ANSWER;

pub(crate) async fn peers(asking: Asking, output: Output) -> Result<(), Failure> {
    let answer = answer(&asking, "/peers").await?;
    for row in answer.as_array().into_iter().flatten() {
        output.line(row, || {
            let reason = row["reason"].as_str().map(|reason| format!(" ({reason})"));
            format!(
                "{} {}{}, {} {}, {} s, {}, {} streams, {}",
                text(row, "peer_id"),
                text(row, "state"),
                reason.unwrap_or_default(),
                text(row, "phase"),
                text(row, "direction"),
                row["age_s"],
                match row["rtt_us"].as_f64() {
                    Some(micros) => format!("{} ms", micros / 1e3),
                    None => "no round trip yet".to_owned(),
                },
                row["streams"].as_u64().unwrap_or(0),
                row["address"].as_str().unwrap_or("no address yet"),
            )
        })?;
    }
    Ok(())
}

pub(crate) async fn why(peer: String, asking: Asking, output: Output) -> Result<(), Failure> {
    if peer.parse::<PeerId>().is_err() {
        return Err(Failure::usage(format!("'{peer}' is not a peer id")));
    }
    let answer = answer(&asking, &format!("/why?peer={peer}")).await?;
    let events = answer["events"].as_array();
    let events = events.filter(|events| !events.is_empty());
    let Some(events) = events else {
        return Err(Failure::job(format!("nothing is known of {peer}")));
    };
    for event in events {
        output.line(event, || plain(event))?;
    }
    Ok(())
}

pub(crate) async fn events(asking: Asking, output: Output) -> Result<(), Failure> {
    let (response, at) = get(&asking, "/events").await?;
    let broke = |error: &dyn std::fmt::Display| Failure::job(format!("{at}: {error}"));
    let mut body = response.into_body();
    let mut read: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broke(&error))?;
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = read.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).map_err(|error| broke(&error))?;
            output.line(&event, || plain(&event))?;
        }
        if read.len() > MAX_LINE {
            return Err(broke(&"a line that does not end"));
        }
    }
    // It ends when the node does.
    Ok(())
}

fn plain(event: &Value) -> String {
    match text(event, "event") {
        "snapshot" => {
            let peers = event["peers"].as_array().map_or(&[][..], |peers| peers);
            let peers = peers
                .iter()
                .map(|peer| format!("{} is {}", text(peer, "peer_id"), text(peer, "state")));
            let lines: Vec<_> = peers.collect();
            match lines.is_empty() {
                true => "nobody is connected".to_owned(),
                false => lines.join("\n"),
            }
        }
        "lagged" => format!("{} events were missed", event["missed"]),
        _ => {
            let detail = event["detail"].as_str().map(|detail| format!(": {detail}"));
            format!(
                "{} {} -> {}, {}{} (connection {})",
                text(event, "peer_id"),
                text(event, "from"),
                text(event, "to"),
                text(event, "cause"),
                detail.unwrap_or_default(),
                text(event, "connection"),
            )
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// What the node answers to a question.
pub(crate) async fn answer(asking: &Asking, path: &str) -> Result<Value, Failure> {
    whole(get(asking, path).await?).await
}

/// Has the node change something, and gives what it answers.
#[cfg(feature = "relay")]
pub(crate) async fn change(asking: &Asking, path: &str, what: &Value) -> Result<Value, Failure> {
    let request = Request::post(path).header("content-type", "application/json");
    whole(send(asking, request, what.to_string().into()).await?).await
}

async fn whole((response, at): (Response<Incoming>, SocketAddr)) -> Result<Value, Failure> {
    let broke = |error: &dyn std::fmt::Display| Failure::job(format!("{at}: {error}"));
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
    let body = timeout(PATIENCE, body).await;
    let body = body.map_err(|_| broke(&"no whole answer in time"))?;
    let body = body.map_err(|error| broke(&error))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| broke(&error))
}

async fn get(asking: &Asking, path: &str) -> Result<(Response<Incoming>, SocketAddr), Failure> {
    send(asking, Request::get(path), Bytes::new()).await
}

async fn send(
    asking: &Asking,
    request: http::request::Builder,
    body: Bytes,
) -> Result<(Response<Incoming>, SocketAddr), Failure> {
    let at = admin(asking)?;
    let broke = |error: &dyn std::fmt::Display| {
        Failure::job(format!(
            "the admin endpoint at {at} does not answer: {error}"
        ))
    };
    let asked = async {
        let stream = TcpStream::connect(at).await.map_err(|e| broke(&e))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|e| broke(&e))?;
        // It ends with the answer.
        tokio::spawn(connection);
        let request = request.header("host", at.to_string());
        let request = request.body(Full::new(body)).map_err(|e| broke(&e))?;
        sender.send_request(request).await.map_err(|e| broke(&e))
    };
    let response = timeout(PATIENCE, asked).await;
    let response = response.map_err(|_| broke(&"no answer in time"))??;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok((response, at));
    }
    // What is wrong with the question it says itself.
    let said = Limited::new(response.into_body(), MAX_REASON).collect();
    let said = timeout(PATIENCE, said).await.ok().and_then(Result::ok);
    let said = said.map(|said| said.to_bytes()).unwrap_or_default();
    match (
        status.is_client_error(),
        String::from_utf8_lossy(&said).trim(),
    ) {
        (true, said) if !said.is_empty() => Err(Failure::job(said)),
        _ => Err(broke(&status)),
    }
}

/// Where the running node's admin endpoint is.
fn admin(asking: &Asking) -> Result<SocketAddr, Failure> {
    if let Some(at) = asking.admin {
        return Ok(at);
    }
    let data_dir = match &asking.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => settings::default_data_dir()?,
    };
    let mark = data_dir.join("admin");
    let text = fs::read_to_string(&mark).map_err(|_| {
        Failure::job(format!(
            "no node runs in {}: it would have left the file admin there",
            data_dir.display()
        ))
    })?;
    let at = text.trim().trim_start_matches("http://");
    at.parse().map_err(|_| {
        Failure::job(format!(
            "{} names no admin endpoint: '{at}'",
            mark.display()
        ))
    })
}
