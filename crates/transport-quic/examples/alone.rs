//! Two endpoints on the loopback interface: one echoes, the other asks.
//!
//! `cargo run --package transport-quic --example alone`

use std::error::Error;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport_quic::{CloseCode, Config, Endpoint, Keypair};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (alice, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let listener = Endpoint::bind("127.0.0.1:0".parse()?, &bob, Config::default())?;
    let address = listener.local_addr()?;

    let echo = tokio::spawn(async move {
        while let Ok(incoming) = listener.accept().await {
            let Ok(connection) = incoming.accept().await else {
                continue;
            };
            while let Some(stream) = connection.accept().await {
                let (mut read, mut write) = tokio::io::split(stream);
                let copied = tokio::io::copy(&mut read, &mut write).await;
                let closed = write.shutdown().await;
                println!("{} echoed {copied:?}, {closed:?}", connection.peer());
            }
        }
    });

    let dialer = Endpoint::bind("127.0.0.1:0".parse()?, &alice, Config::default())?;
    let connection = dialer
        .dial(address, Some(bob.public().to_peer_id()))
        .await?;
    let mut stream = connection.open().await?;
    stream.write_all(b"the same back, please").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("{} says: {answer}", connection.peer());
    assert_eq!(answer, "the same back, please");

    dialer.close(CloseCode::SHUTDOWN, "done").await;
    echo.abort();
    Ok(())
}
