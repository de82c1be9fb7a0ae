//! The queries of the node's parts. This file depends on no part.

use std::{collections::BTreeMap, convert::Infallible, error::Error, sync::Arc};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Query as Parameters, rejection::JsonRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::{Stream, StreamExt};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    error::error_chain,
    part::{Answer, Query, QueryError},
};

/// The maximum length of a POST's body, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// The number of simultaneous answers of lines, such as `/events`. It is half of a listener's connections, so that subscribers
/// cannot take all connections.
const MAX_STREAMS: usize = 16;

/// The answers of lines that a listener sends now.
#[derive(Clone)]
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STREAMS)))
    }
}

/// Marks a response that ends only when the client or the node ends it.
#[derive(Clone)]
pub(super) struct Endless;

/// Adds one query to the endpoint. Two queries may share a path if one reads and the other writes.
pub(super) fn mount<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    query: Query,
    streams: &Streams,
    stopping: &CancellationToken,
) -> Router<S> {
    let Query {
        path,
        write,
        answer,
    } = query;
    let (streams, stopping) = (streams.clone(), stopping.clone());
    let respond =
        move |question: Value| respond(answer(question), streams.clone(), stopping.clone());
    let method = match write {
        true => post(
            async move |body: Result<Json<Value>, JsonRejection>| match body {
                Ok(Json(question)) => respond(question).await,
                Err(rejection) => refuse(&rejection),
            },
        )
        .layer(DefaultBodyLimit::max(MAX_BODY)),
        false => get(
            async move |Parameters(fields): Parameters<BTreeMap<String, String>>| {
                respond(fields.into_iter().collect()).await
            },
        ),
    };
    router.route(path, method)
}

async fn respond(answer: Answer, streams: Streams, stopping: CancellationToken) -> Response {
    match answer {
        Answer::Document(document) => match document.await {
            Ok(document) => Json(document).into_response(),
            Err(QueryError::NotReady(document)) => {
                (StatusCode::SERVICE_UNAVAILABLE, Json(document)).into_response()
            }
            Err(error) => (status(&error), error.to_string()).into_response(),
        },
        Answer::Lines(lines) => {
            let lines = lines.take_until(stopping.cancelled_owned());
            streams.ndjson(lines.map(|line| format!("{line}\n")))
        }
    }
}

impl Streams {
    /// A response of JSON objects, one per line.
    pub(super) fn ndjson(&self, lines: impl Stream<Item = String> + Send + 'static) -> Response {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            let problem = format!("{MAX_STREAMS} requests for a stream of lines are open already");
            return (StatusCode::TOO_MANY_REQUESTS, problem).into_response();
        };
        let body = lines.map(move |lines| {
            let _held_until_the_body_is_dropped = &place;
            Ok::<_, Infallible>(Bytes::from(lines))
        });
        let body = Body::from_stream(body);
        let kind = [(CONTENT_TYPE, "application/x-ndjson")];
        (kind, axum::Extension(Endless), body).into_response()
    }
}

fn status(error: &QueryError) -> StatusCode {
    match error {
        QueryError::Malformed(_) => StatusCode::BAD_REQUEST,
        QueryError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        QueryError::NotFound(_) => StatusCode::NOT_FOUND,
        QueryError::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refuse(rejection: &JsonRejection) -> Response {
    let problem = match rejection.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "the content type is not application/json".to_owned(),
        StatusCode::PAYLOAD_TOO_LARGE => format!("the body is longer than {MAX_BODY} bytes"),
        _ => {
            let cause = rejection.source();
            let cause = cause.map_or_else(|| rejection.to_string(), error_chain);
            format!("the body is not JSON: {cause}")
        }
    };
    (rejection.status(), problem).into_response()
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc, time::Duration};

    use futures::{FutureExt, stream};
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::*;

    fn documents(
        answer: fn(Value) -> Result<Value, QueryError>,
    ) -> Arc<dyn Fn(Value) -> Answer + Send + Sync> {
        Arc::new(move |question| Answer::Document(async move { answer(question) }.boxed()))
    }

    async fn serve(
        queries: impl IntoIterator<Item = Query>,
        stopping: &CancellationToken,
    ) -> SocketAddr {
        let streams = Streams::default();
        let mounted = |router, query| mount(router, query, &streams, stopping);
        let router: Router = queries.into_iter().fold(Router::new(), mounted);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// The status and the body of the answer to a request. `head` lacks its last lines.
    async fn ask(address: SocketAddr, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        timeout(Duration::from_secs(10), read)
            .await
            .unwrap()
            .unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    #[tokio::test]
    async fn a_get_carries_its_parameters_and_a_post_its_body_to_the_same_path() {
        let queries = [false, true].map(|write| Query {
            path: "/echo",
            write,
            answer: documents(Ok),
        });
        let address = serve(queries, &CancellationToken::new()).await;
        let got = ask(address, "GET /echo?a=1&b=two HTTP/1.1", "").await;
        assert_eq!(got, (200, json!({"a": "1", "b": "two"}).to_string()));
        let head = "POST /echo HTTP/1.1\r\ncontent-type: application/json";
        let got = ask(address, head, r#"{"a": [1, null]}"#).await;
        assert_eq!(got, (200, json!({"a": [1, null]}).to_string()));
    }

    #[tokio::test]
    async fn each_kind_of_error_has_its_status_and_its_own_text() {
        let query = Query {
            path: "/fail",
            write: false,
            answer: documents(|question| {
                Err(match question["kind"].as_str() {
                    Some("malformed") => QueryError::Malformed("no sense".to_owned()),
                    Some("invalid") => QueryError::Invalid("too large".to_owned()),
                    _ => QueryError::NotFound("no such thing".to_owned()),
                })
            }),
        };
        let address = serve([query], &CancellationToken::new()).await;
        for (kind, status, text) in [
            ("malformed", 400, "no sense"),
            ("invalid", 422, "too large"),
            ("other", 404, "no such thing"),
        ] {
            let got = ask(address, &format!("GET /fail?kind={kind} HTTP/1.1"), "").await;
            assert_eq!(got, (status, text.to_owned()));
        }
        // A path that nothing answers has no text, which tells it from the last error above.
        let got = ask(address, "GET /nothing HTTP/1.1", "").await;
        assert_eq!(got, (404, String::new()));
    }

    #[tokio::test]
    async fn a_body_is_refused_unless_it_is_json_and_at_most_64_kib_long() {
        let query = Query {
            path: "/length",
            write: true,
            answer: documents(|question| Ok(question.as_str().map_or(0, str::len).into())),
        };
        let address = serve([query], &CancellationToken::new()).await;
        let head = "POST /length HTTP/1.1\r\ncontent-type: application/json";
        let of_length = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        let got = ask(address, head, &of_length(MAX_BODY)).await;
        assert_eq!(got, (200, (MAX_BODY - 2).to_string()));
        let (status, problem) = ask(address, head, &of_length(MAX_BODY + 1)).await;
        assert_eq!(status, 413);
        assert!(problem.contains("65536"), "{problem}");
        let (status, problem) = ask(address, head, "{\"a\": 1").await;
        assert_eq!(status, 400);
        assert!(
            problem.contains("JSON") && !problem.contains('\n'),
            "{problem}"
        );
        // A browser sends this one for any web page, without a CORS preflight.
        let plain = "POST /length HTTP/1.1\r\ncontent-type: text/plain";
        assert_eq!(ask(address, plain, "\"x\"").await.0, 415);
    }

    #[tokio::test]
    async fn lines_come_as_they_are_made_and_end_when_the_node_stops() {
        let stopping = CancellationToken::new();
        let stop = stopping.clone();
        let query = Query {
            path: "/lines",
            write: false,
            answer: Arc::new(move |_| {
                let stop = stop.clone();
                let first = stream::iter([json!({"n": 1}), json!({"n": 2})]);
                // The answer never ends by itself: the read of a third line stops the node.
                let rest = stream::once(async move { stop.cancel() });
                let rest = rest.flat_map(|()| stream::pending());
                Answer::Lines(first.chain(rest).boxed())
            }),
        };
        let address = serve([query], &stopping).await;
        let (status, body) = ask(address, "GET /lines HTTP/1.1", "").await;
        assert_eq!(status, 200);
        let lines: Vec<&str> = body.lines().filter(|line| line.starts_with('{')).collect();
        assert_eq!(lines, [r#"{"n":1}"#, r#"{"n":2}"#]);
    }
}
