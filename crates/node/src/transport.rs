//! The connectors and listeners over the transport crates.

#[cfg(feature = "quic")]
pub(crate) mod quic;
#[cfg(feature = "tcp")]
pub(crate) mod tcp;

use std::io;

/// Extracts the error of the operating system from a transport's error. The transport's error would repeat the address.
fn system(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let source = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(io::Error::raw_os_error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error),
    }
}
