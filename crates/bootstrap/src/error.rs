//! What can go wrong in a source.

use std::{io, path::PathBuf, sync::Arc};

/// A problem of a source. The source continues with what it can use.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A line of a file is no address of a peer.
    #[error("{}:{line}: {text:?} is not an address of a peer, such as /ip4/192.0.2.1/tcp/4077/p2p/12D3KooW…", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The line's first 80 characters.
        text: String,
    },
    /// More lines of a file are no addresses than are named one by one.
    #[error("{}: {lines} further lines are not addresses of peers", path.display())]
    Lines {
        /// The file.
        path: PathBuf,
        /// The number of lines.
        lines: usize,
    },
    /// A file has more candidates, or more bytes, than are read.
    #[error("{}: only the first {limit} {unit} are read", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What is read at the most.
        limit: usize,
        /// What the limit counts.
        unit: &'static str,
    },
    /// A file cannot be read. The candidates that were read before stay.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
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
        /// Where it is now.
        aside: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of saved peers cannot be used. No peer is saved.
    #[error("cannot use the saved peers in {}: {reason}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Records of saved peers are unreadable and were passed over.
    #[error("{}: {records} records of saved peers are unreadable and were ignored", path.display())]
    Records {
        /// The file.
        path: PathBuf,
        /// How many.
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
        /// What failed.
        what: &'static str,
        /// Why.
        source: Arc<io::Error>,
    },
}
