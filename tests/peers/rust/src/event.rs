//! The lines on standard output.

use std::io::{self, Write};

use serde::Serialize;

/// One line on standard output.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event<'a> {
    Ready {
        peer_id: String,
        addresses: Vec<String>,
    },
    /// Without `security` and `muxer`: rust-libp2p does not tell which ones a connection uses.
    Connected {
        peer_id: String,
        address: String,
    },
    Identified {
        peer_id: String,
        agent: &'a str,
        protocols: Vec<&'a str>,
        listen: Vec<String>,
    },
    Pong {
        rtt_us: u128,
    },
    Disconnected {
        peer_id: String,
    },
    /// A relay granted a slot, or more time in it.
    Reserved {
        relay: String,
        renewal: bool,
    },
    /// A relay granted no slot, or took one away.
    Refused {
        message: &'a str,
    },
    /// A stream was echoed until its end.
    Served {
        peer_id: String,
        bytes: u64,
        end: &'a str,
    },
    /// All that was sent came back.
    Echoed {
        bytes: u64,
    },
    /// The stream ended before all that was sent came back.
    Cut {
        sent: u64,
        received: u64,
        reason: &'a str,
    },
    /// The peer answered a ping on a new stream. The time includes opening the stream.
    Probed {
        peer_id: String,
        took_us: u128,
    },
    /// The outcome of a job of the DHT.
    Dht {
        job: &'a str,
        found: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    Done,
    Bulk {
        bytes: u64,
        seconds: f64,
    },
    Connects {
        count: u32,
        p50_us: u128,
        p99_us: u128,
        per_second: f64,
    },
    /// So many peers are connected, of which enough are identified.
    Joined {
        peers: usize,
        seconds: f64,
    },
    /// What each lookup took, how many peers have answered in all, and how many are connected at the end.
    Lookups {
        micros: Vec<u128>,
        answers: u32,
        connections: usize,
    },
    /// The memory of routing tables.
    Table {
        entries: usize,
        bytes: u64,
        bytes_of_empty_tables: u64,
    },
    /// The hops and the requests of each lookup in a large network, and how many lookups were good.
    Network {
        hops: Vec<u32>,
        requests: Vec<u32>,
        good: usize,
    },
    Error {
        message: &'a str,
    },
}

/// Prints one line and flushes it: whoever drives this program waits for single lines.
pub fn emit(event: &Event<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, event)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
