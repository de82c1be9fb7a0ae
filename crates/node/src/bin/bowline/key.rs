//! `bowline key`: creates and shows the identity.

use std::path::{Path, PathBuf};

use node::{Keypair, PublicKey, keyfile};
use serde_json::json;

use crate::{cli::Key, failure::Failure, output::Output, settings};

/// The path of the key file in the data directory.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("identity.key")
}

pub(crate) fn run(command: Key, output: &Output) -> Result<(), Failure> {
    match command {
        Key::New { data_dir } => {
            let path = path(&directory(data_dir)?);
            let keypair = Keypair::generate_ed25519();
            keyfile::create(&path, &keypair).map_err(Failure::system_error)?;
            describe("key_created", &keypair.public(), &path, *output)
        }
        Key::Show { data_dir } => {
            let path = path(&directory(data_dir)?);
            if matches!(path.try_exists(), Ok(false)) {
                let remedy = "'bowline key new' creates an identity";
                let problem = format!("{} does not exist; {remedy}", path.display());
                return Err(Failure::usage(problem));
            }
            let keypair = keyfile::load(&path).map_err(Failure::usage_error)?;
            describe("key", &keypair.public(), &path, *output)
        }
    }
}

fn directory(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    given.map_or_else(settings::default_data_dir, Ok)
}

fn describe(event: &str, key: &PublicKey, path: &Path, output: Output) -> Result<(), Failure> {
    let peer_id = key.to_peer_id().to_string();
    let object = json!({
        "event": event,
        "peer_id": peer_id,
        "type": key.key_type().to_string(),
        "file": path.display().to_string(),
    });
    output.line(&object, || format!("{peer_id}  {}", path.display()))
}
