//! The memory that a local user can cost a node through its admin endpoint.

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use tests::harness::process::run;
use tests::harness::{Home, Up};

use super::{TCP, assert_done, soon};

/// The resident memory of a process in KiB.
fn resident(up: &Up) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", up.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

#[test]
fn many_connections_with_long_headers_and_bodies_cost_little_memory() {
    let home = Home::new().unwrap();
    let up = home
        .up(&["--listen", TCP, "--admin", "127.0.0.1:0"])
        .unwrap();
    let address = up.ready.text("admin").replace("http://", "");
    let before = resident(&up);
    let header = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "x".repeat(400_000)
    );
    let body = "POST /slots HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 65536\r\n\r\n";
    let body = format!("{body}\"{}", "x".repeat(60_000));
    let mut highest = 0;
    let mut open = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let request = if number % 2 == 0 { &header } else { &body };
        // The node reads only some of them.
        let _ = stream.write(request.as_bytes());
        open.push(stream);
        highest = highest.max(resident(&up));
    }
    // The owner's socket is not affected.
    let mut peers = home.bowline_with_data(&["peers"]);
    assert_done(&run("bowline", &mut peers, soon()).unwrap());
    highest = highest.max(resident(&up));
    let grown = highest.saturating_sub(before);
    println!("200 connections with 400,000 bytes of headers or 60,000 bytes of body: +{grown} KiB");
    assert!(grown < 10 * 1024, "{grown} KiB");
}
