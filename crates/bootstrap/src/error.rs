//! The problems of a source.

use std::{io, path::PathBuf, sync::Arc};

/// A problem of a source. The source continues with what it can use.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A line of a file is not the address of a peer.
    #[error("{}:{line}: {text:?} is not an address of a peer, such as /ip4/192.0.2.1/tcp/4077/p2p/12D3KooW…", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The line's first 80 characters.
        text: String,
    },
    /// Further lines of a file are not addresses. The first bad lines were reported one by one.
    #[error("{}: {lines} further lines are not addresses of peers", path.display())]
    Lines {
        /// The file.
        path: PathBuf,
        /// The number of lines.
        lines: usize,
    },
    /// A file has more candidates or bytes than the source reads.
    #[error("{}: only the first {limit} {unit} are read", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: usize,
        /// The unit of the limit.
        unit: &'static str,
    },
    /// A file cannot be read. The candidates of the previous read stay.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// A `/dnsaddr` name could not be resolved.
    #[error("cannot resolve /dnsaddr/{name}: {reason}")]
    Resolve {
        /// The name.
        name: String,
        /// What the resolver said.
        reason: String,
    },
    /// A `/dnsaddr` name has no record with the address of a peer.
    #[error("/dnsaddr/{name} has no record that names a peer and its address")]
    Empty {
        /// The name.
        name: String,
    },
    /// The file of saved peers was damaged and has been set aside.
    #[error("{} is damaged and was moved to {}; the node starts with no saved peers: {reason}", path.display(), aside.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// The path to which the damaged file was moved.
        aside: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of saved peers cannot be used. No peer is saved.
    #[error("cannot use the saved peers in {}: {reason}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// Records of saved peers are unreadable and were ignored.
    #[error("{}: {records} records of saved peers are unreadable and were ignored", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// The number of records.
        records: usize,
    },
    /// A source of the host's own has a problem.
    ///
    /// ```
    /// let problem = bootstrap::SourceError::Other { name: "registry".into(), reason: "HTTP 503".into() };
    /// assert_eq!(problem.to_string(), "registry: HTTP 503");
    /// ```
    #[error("{name}: {reason}")]
    Other {
        /// The source.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The LAN cannot be searched.
    #[error("cannot search the LAN for peers: {what}")]
    Lan {
        /// The operation that failed.
        what: &'static str,
        /// The cause.
        source: Arc<io::Error>,
    },
}
