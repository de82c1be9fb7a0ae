//! Streams whose protocol is never settled.

use node::Keypair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Attacker, Duplex, HEADER, MIB, SLACK, alone,
    common::{QUIC, TCP, listen, node, within},
    kept, message, run, settled,
};

#[test]
fn endless_protocol_names_end_their_stream_after_4096_bytes() {
    alone(|| {
        run(async {
            for transport in [TCP, QUIC] {
                let victim = node();
                let address = listen(&victim, transport).await;
                let attacker = Attacker::new(&victim, &address, &Keypair::generate_ed25519()).await;
                let mut stream = attacker.open().await.unwrap();
                let (header, offer) = (message(HEADER), message(b"/nobody/has/this"));
                stream.write_all(&header).await.unwrap();
                within(stream.read_exact(&mut header.clone()))
                    .await
                    .unwrap();
                let mut said = header.len();
                while said < 100_000 {
                    if stream.write_all(&offer).await.is_err() {
                        break;
                    }
                    let mut no = [0; 4];
                    if within(stream.read_exact(&mut no)).await.is_err() {
                        break;
                    }
                    assert_eq!(&no, b"\x03na\n");
                    said += offer.len();
                }
                println!("{transport}: {said} bytes were answered");
                assert!((4000..=4096).contains(&said), "{said} bytes were answered");
            }
        });
    });
}

/// Streams that wait for a proposal.
async fn negotiating(attacker: &Attacker, streams: usize) -> Vec<Box<dyn Duplex>> {
    let header = message(HEADER);
    let mut open = Vec::new();
    for _ in 0..streams {
        let mut stream = attacker.open().await.unwrap();
        stream.write_all(&header).await.unwrap();
        stream.flush().await.unwrap();
        within(stream.read_exact(&mut header.clone()))
            .await
            .unwrap();
        open.push(stream);
    }
    settled().await;
    open
}

/// All streams say `bytes`, and hear nothing.
async fn cost(transport: &str, streams: usize, bytes: &[u8]) {
    let start = kept();
    let victim = node();
    let address = listen(&victim, transport).await;
    let attacker = Attacker::new(&victim, &address, &Keypair::generate_ed25519()).await;
    let mut open = negotiating(&attacker, streams).await;
    let before = kept();
    for stream in &mut open {
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
    }
    settled().await;
    let grown = kept().saturating_sub(before);
    println!(
        "{transport}, {streams} streams, {} bytes each: {grown} bytes kept",
        bytes.len()
    );
    assert!(
        grown <= SLACK + 2 * streams * bytes.len().min(4096),
        "{grown} bytes are kept"
    );
    drop(open);
    attacker.abort().await;
    victim.shutdown().await;
    drop(victim);
    settled().await;
    let after = kept().saturating_sub(start);
    assert!(after <= 10 * MIB, "{after} bytes are kept after the end");
}

#[test]
fn messages_that_never_end_reserve_no_memory() {
    alone(|| {
        // The longest length that multistream-select takes, and one byte of 16,383.
        let announced = [0xff, 0x7f, b'/'];
        for transport in [TCP, QUIC] {
            run(cost(transport, 64, &announced));
            run(cost(transport, 250, &announced));
        }
    });
}

#[test]
fn questions_for_the_list_of_protocols_cost_one_answer_per_stream() {
    alone(|| {
        let questions = message(b"ls").repeat(1000);
        for transport in [TCP, QUIC] {
            run(cost(transport, 64, &questions));
            run(cost(transport, 250, &questions));
        }
    });
}
