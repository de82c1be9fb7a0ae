//! Keys stay in the process. The variable must be in the environment from the start, so the test
//! runs itself again in a child with it set.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod support;

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport_tcp::UpgradeConfig;

/// The test below runs it once more, with the variable set.
#[tokio::test]
async fn a_connection_comes_about() {
    let (dialed, accepted) = support::connected(UpgradeConfig::default).await;
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(b"!").await.unwrap();
    let mut taken = accepted.accept().await.unwrap();
    taken.read_exact(&mut [0]).await.unwrap();
    println!("connected {}", dialed.via());
}

#[test]
fn sslkeylogfile_is_not_honoured() {
    let file = std::env::temp_dir().join(format!("bowline-keys-{}", std::process::id()));
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["a_connection_comes_about", "--exact", "--nocapture"])
        .env("SSLKEYLOGFILE", &file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("connected tcp/tls/yamux"), "{said}");
    let written = std::fs::read_to_string(&file);
    let _ = std::fs::remove_file(&file);
    assert!(written.is_err(), "keys were written: {written:?}");
}
