//! A circuit as a byte stream, and as a stream of the connection to the relay.

use std::io::IoSlice;

use node::relay_slots::{driver, wire::HOP_PROTOCOL};
use tokio::io::AsyncWrite;

use super::*;

#[tokio::test]
async fn a_circuit_takes_many_small_buffers_in_one_write() {
    let relay = relay(Caps::default(), TableConfig::default());
    let relay_at = listen(&relay, TCP).await;
    let hidden = behind(&[&relay_at]);
    reached_at(&hidden).await;
    let seeker = node();
    let connection = within(seeker.dial([relay_at])).await.unwrap();
    let (_, hop) = within(connection.open(&[HOP_PROTOCOL])).await.unwrap();
    let circuit = driver::connect(hop, hidden.peer_id(), Duration::from_secs(10));
    let mut circuit = within(circuit).await.unwrap();
    // The muxer makes a frame of each write, and a cipher writes many small buffers.
    assert!(circuit.stream.is_write_vectored());
    let buffers = [IoSlice::new(&[7; 10]); 1_000];
    let written = within(circuit.stream.write_vectored(&buffers)).await;
    assert_eq!(written.unwrap(), 10_000);
    assert_eq!(circuit.stream.allowance().bytes_written(), 10_000);
}

#[tokio::test]
async fn a_circuit_is_no_inbound_stream_of_the_connection_to_the_relay() {
    let (relay, hidden, _seeker, connection) = circuit(TableConfig::default()).await;
    over_circuit(&hidden).await;
    let to_relay = hidden.connection(relay.peer_id()).unwrap();
    // A stream of identify or ping may be open for a moment.
    within(async {
        while to_relay.inbound_streams() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(within(connection.ping()).await.is_ok());
}
