//! The transport crates as connectors and listeners.

#[cfg(feature = "quic")]
pub(crate) mod quic;
#[cfg(feature = "tcp")]
pub(crate) mod tcp;
#[cfg(all(feature = "tcp", feature = "metrics"))]
pub(crate) mod tcp_metrics;

use std::io;

/// What the operating system said, out of a transport's error, which names the address a second time.
fn system(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let source = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(io::Error::raw_os_error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error),
    }
}
