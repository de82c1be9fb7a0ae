//! The token of the admin endpoint on TCP.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::private_file::{self, Temporary};

/// The name of the token's file in the data directory.
const NAME: &str = "admin-token";

/// The maximum length of the token's file. A token takes 64 bytes.
const MAX_LENGTH: u64 = 1024;

/// A secret that proves to the admin endpoint on TCP that a request may change something.
///
/// A token is valid until the process that made it ends, so a token that was sent to a wrong endpoint is useless after a
/// restart.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new token of 256 random bits.
    pub(super) fn random() -> Self {
        let bytes = Zeroizing::new(rand::random::<[u8; 32]>());
        Self(Zeroizing::new(
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }

    /// The file that holds the token of a node with this data directory.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(NAME)
    }

    /// Reads the token of the node that runs with this data directory.
    ///
    /// # Errors
    ///
    /// The file does not exist or cannot be read.
    pub fn read(data_dir: &Path) -> io::Result<Self> {
        let bytes = Zeroizing::new(private_file::read(&Self::path(data_dir), MAX_LENGTH)?);
        let text = std::str::from_utf8(&bytes).map_err(io::Error::other)?;
        Ok(Self(Zeroizing::new(text.trim_ascii().to_owned())))
    }

    /// Stores the token for the commands.
    pub(super) fn write(&self, data_dir: &Path) -> io::Result<Temporary> {
        private_file::write_temporary(&Self::path(data_dir), self.0.as_bytes())
    }

    /// The token as it is sent, in the header `Authorization: Bearer TOKEN`.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}
