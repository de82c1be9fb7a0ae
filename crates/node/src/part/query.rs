//! The queries of the admin endpoint, and their answers.

use std::sync::Arc;

use futures::{future::BoxFuture, stream::BoxStream};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One query of the admin endpoint.
pub(crate) struct Query {
    /// The HTTP path of the query, such as `/slots`.
    pub(crate) path: &'static str,
    /// Whether the query changes something. Such a query is a POST with a JSON body. Other queries are GETs, and
    /// `answer` receives their parameters as an object of strings.
    pub(crate) write: bool,
    pub(crate) answer: Arc<dyn Fn(Value) -> Answer + Send + Sync>,
}

impl Query {
    /// A query that changes nothing.
    pub(crate) fn read(
        path: &'static str,
        answer: impl Fn(Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self {
            path,
            write: false,
            answer: Arc::new(answer),
        }
    }

    /// A query that changes something.
    pub(crate) fn write(
        path: &'static str,
        answer: impl Fn(Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self {
            path,
            write: true,
            answer: Arc::new(answer),
        }
    }

    /// Reads the body of a query as a `T`.
    pub(crate) fn parse<T: DeserializeOwned>(body: Value) -> Result<T, QueryError> {
        serde_json::from_value(body).map_err(|error| QueryError::Malformed(error.to_string()))
    }
}

/// The answer to a query.
pub(crate) enum Answer {
    /// One JSON document.
    Document(BoxFuture<'static, Result<Value, QueryError>>),
    /// JSON documents, one per line, until the stream or the node ends.
    Lines(BoxStream<'static, Value>),
}

impl Answer {
    /// A document that needs no wait.
    pub(crate) fn ready(document: Result<Value, QueryError>) -> Self {
        Self::Document(Box::pin(std::future::ready(document)))
    }

    /// A refusal.
    pub(crate) fn refuse(error: QueryError) -> Self {
        Self::ready(Err(error))
    }
}

/// The reason for which a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    /// The query cannot be parsed.
    #[error("{0}")]
    Malformed(String),
    /// A value in the query is out of its bounds.
    #[error("{0}")]
    Invalid(String),
    /// This node has no answer to such queries.
    #[error("{0}")]
    NotFound(String),
    /// The node is not ready. The endpoint sends this document with the status 503.
    #[error("{0}")]
    NotReady(Value),
}
