//! TLS secrets stay in the process whatever its environment says.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;

use common::{Node, within};
use transport_quic::{Config, Flavour};

#[test]
fn sslkeylogfile_is_not_honoured() {
    let file = std::env::temp_dir().join(format!("transport-quic-{}.keys", std::process::id()));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "connections_of_both_flavours"])
        .env("SSLKEYLOGFILE", &file)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.contains("1 passed"), "{output}");
    let written = std::fs::read_to_string(&file);
    let _ = std::fs::remove_file(&file);
    assert!(written.is_err(), "{written:?}");
}

/// The test above runs it once more, with the variable set.
#[tokio::test]
async fn connections_of_both_flavours() {
    let raw = Flavour::RawPublicKey {
        alpn: vec![b"/a/1".to_vec()],
    };
    for flavour in [Flavour::Libp2p, raw] {
        let config = Config::default().with_flavour(flavour);
        let (dialer, listener) = (Node::new(config.clone()), Node::new(config));
        let accepted = listener.accept_one();
        let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
        dialed.unwrap();
        within(accepted).await.unwrap();
    }
}
