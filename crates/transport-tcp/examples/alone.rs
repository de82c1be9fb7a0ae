//! The crate with nothing else of ours: a listener and a dialer on loopback, once over TLS and
//! once over Noise, and an echo.
//!
//! `cargo run -p transport-tcp --example alone`

use std::{error::Error, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    time::Instant,
};
use transport_tcp::{
    DialContext, Dialer, Direct, DirectConfig, Keypair, ListenConfig, Listener, Multiaddr,
    Security, Target, UpgradeConfig, Upgrader,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    for security in [Security::Tls, Security::Noise] {
        echo(security).await?;
    }
    Ok(())
}

async fn echo(security: Security) -> Result<(), Box<dyn Error>> {
    let config = || UpgradeConfig::default().with_security([security]);
    let (alice, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());

    let listener = Listener::bind("127.0.0.1:0".parse()?, &ListenConfig::default())?;
    let port = listener.local_addr()?.port();
    let peer = bob.public().to_peer_id();
    let upgrader = Upgrader::new(&bob, config())?;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("listening");
        let connection = upgrader
            .inbound(stream, &mut |_| ())
            .await
            .expect("upgrade");
        while let Some(stream) = connection.accept().await {
            let (mut read, mut write) = split(stream);
            copy(&mut read, &mut write).await.expect("echo");
            write.shutdown().await.expect("end of echo");
        }
    });

    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}/p2p/{peer}").parse()?;
    let target = Target::from_multiaddr(&address)?;
    let deadline = DialContext::new(Instant::now() + Duration::from_secs(5));
    let stream = Direct::new(DirectConfig::default())
        .dial(&target, &deadline)
        .await?;
    let upgrader = Upgrader::new(&alice, config())?;
    let mut report = |stage| println!("  {stage:?}");
    let connection = upgrader
        .outbound(stream, target.peer(), &mut report)
        .await?;

    let mut stream = connection.open().await?;
    stream.write_all(b"ahoy").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert_eq!(answer, "ahoy");
    println!(
        "{} answered over {}: {answer}",
        connection.peer(),
        connection.via()
    );

    connection.close();
    connection.closed().await;
    server.await?;
    Ok(())
}
