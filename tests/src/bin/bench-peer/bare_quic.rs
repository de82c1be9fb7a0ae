//! quinn by itself, as it comes.

use std::{sync::Arc, time::Instant};

use anyhow::Context;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};

use crate::{bare_tcp, measure};

const ALPN: &[&[u8]] = &[b"bench"];

pub(crate) async fn serve() -> anyhow::Result<()> {
    let tls = QuicServerConfig::try_from(bare_tcp::server_config(ALPN)?)?;
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse()?)?;
    measure::ready(&[endpoint.local_addr()?.to_string()]);
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            while let Ok((send, recv)) = connection.accept_bi().await {
                tokio::spawn(bare_tcp::answer(tokio::io::join(recv, send)));
            }
            Ok::<(), quinn::ConnectionError>(())
        });
    }
    Ok(())
}

async fn connect(endpoint: &quinn::Endpoint, address: &str) -> anyhow::Result<quinn::Connection> {
    let connecting = endpoint.connect(address.parse()?, "localhost")?;
    connecting.await.context("the handshake failed")
}

fn endpoint() -> anyhow::Result<quinn::Endpoint> {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
    let tls = QuicClientConfig::try_from(bare_tcp::client_config(ALPN)?)?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    Ok(endpoint)
}

pub(crate) async fn bulk(address: &str, bytes: u64, write: usize) -> anyhow::Result<()> {
    let endpoint = endpoint()?;
    let connection = connect(&endpoint, address).await?;
    let (send, recv) = connection.open_bi().await?;
    bare_tcp::pump(tokio::io::join(recv, send), bytes, write).await?;
    endpoint.close(0_u32.into(), b"done");
    endpoint.wait_idle().await;
    Ok(())
}

pub(crate) async fn connects(address: &str, count: usize) -> anyhow::Result<()> {
    let endpoint = endpoint()?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let connection = connect(&endpoint, address).await?;
        let (send, recv) = connection.open_bi().await?;
        bare_tcp::ping(tokio::io::join(recv, send)).await?;
        times.push(start.elapsed());
        connection.close(0_u32.into(), b"done");
    }
    measure::connects(times);
    endpoint.close(0_u32.into(), b"done");
    Ok(())
}
