//! QUIC: Initials with the addresses of others, and closes with long reasons.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node::Keypair;
use quinn::crypto::rustls::QuicClientConfig;
use tests::any_certificate::AnyCertificate;
use tests::harness::peers::Stack;
use tokio::time::timeout;

use super::{LIMITED, source};
use crate::node_under_attack::Start;
use crate::siege::{Aim, Counts, besiege};
use crate::{Outcome, Setting};

/// The sources of the spoofed Initials.
const SOURCES: usize = 256;

/// Initials that are sent before the attacker lets other tasks run.
const BATCH: usize = 16;

/// The longest reason of a close that fits into a packet.
const REASON: [u8; 1_080] = [1; 1_080];

/// Connections at the same time.
const TOGETHER: usize = 8;

const PATIENCE: Duration = Duration::from_secs(2);

fn limited() -> Start {
    Start {
        settings: LIMITED.to_owned(),
        ..Start::default()
    }
}

fn client_config() -> Result<quinn::ClientConfig> {
    let mut config = libp2p_tls::make_client_config(&Keypair::generate_ed25519(), None)?;
    // One datagram is enough for a hello without a post-quantum key.
    let mut provider = (**config.crypto_provider()).clone();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    config = with_provider(config, provider)?;
    Ok(quinn::ClientConfig::new(Arc::new(
        QuicClientConfig::try_from(config)?,
    )))
}

/// The same client with another provider.
fn with_provider(
    config: rustls::ClientConfig,
    provider: rustls::crypto::CryptoProvider,
) -> Result<rustls::ClientConfig> {
    let resolver = config.client_auth_cert_resolver.clone();
    let provider = Arc::new(provider);
    let mut changed = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::with_any_signature(provider)))
        .with_client_cert_resolver(resolver);
    changed.alpn_protocols = config.alpn_protocols;
    Ok(changed)
}

/// Genuine first packets, as fast as they can be made, each from the next of 256 addresses that never answer.
pub(crate) fn initials(setting: &Setting) -> Result<Outcome> {
    let attack = |aim: Aim| async move {
        let bound = (0..SOURCES).map(|n| UdpSocket::bind((source(n), 0)));
        let sockets = bound.collect::<Result<Vec<_>, _>>()?;
        let config = client_config()?;
        let mut n = 0;
        while !aim.is_over() {
            // A new endpoint now and then, because it keeps what it has begun.
            let endpoint_config = quinn_proto::EndpointConfig::default();
            let mut endpoint =
                quinn_proto::Endpoint::new(Arc::new(endpoint_config), None, false, None);
            for _ in 0..BATCH {
                let now = Instant::now();
                let begun = endpoint.connect(now, config.clone(), aim.quic, "node");
                let (_, mut connection) = begun.context("no Initial")?;
                let mut datagram = Vec::new();
                while connection.poll_transmit(now, 1, &mut datagram).is_some() {
                    let socket = &sockets[n % SOURCES];
                    // A full buffer loses a datagram, as a network does.
                    let _ = socket.send_to(&datagram, aim.quic);
                    Counts::add(&aim.counts.sent, datagram.len());
                    datagram.clear();
                }
                Counts::add(&aim.counts.tries, 1);
                n += 1;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    let siege = besiege(setting, &limited(), Stack::Quic, attack)?;
    Ok(Outcome::Ran(Box::new(siege.figures)))
}

/// Connections that are closed at once, with a reason of control characters.
pub(crate) fn closes(setting: &Setting) -> Result<Outcome> {
    let attack = |aim: Aim| async move {
        let config = client_config()?;
        let workers = (0..TOGETHER).map(async |worker| {
            let mut n = worker;
            while !aim.is_over() {
                close_one(source(n), &config, &aim).await?;
                n += TOGETHER;
            }
            Ok(())
        });
        futures::future::try_join_all(workers).await.map(drop)
    };
    let siege = besiege(setting, &limited(), Stack::Quic, attack)?;
    Ok(Outcome::Ran(Box::new(siege.figures)))
}

async fn close_one(from: Ipv4Addr, config: &quinn::ClientConfig, aim: &Aim) -> Result<()> {
    let mut endpoint = quinn::Endpoint::client((from, 0).into())?;
    endpoint.set_default_client_config(config.clone());
    Counts::add(&aim.counts.tries, 1);
    let connecting = endpoint.connect(aim.quic, "node")?;
    if let Ok(Ok(connection)) = timeout(PATIENCE, connecting).await {
        Counts::add(&aim.counts.taken, 1);
        // The node asks who this is once it knows the connection. A close before that would not be the end of a connection.
        let _ = timeout(PATIENCE, connection.accept_bi()).await;
        connection.close(7u32.into(), &REASON);
        endpoint.wait_idle().await;
        let sent = connection.stats().udp_tx.bytes;
        Counts::add(&aim.counts.sent, sent as usize);
    }
    Ok(())
}
