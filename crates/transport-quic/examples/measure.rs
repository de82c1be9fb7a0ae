//! Measures what connections cost on this machine: bytes per idle connection at the server, bulk
//! throughput, and the time of a dial.
//!
//! `cargo run --release --package transport-quic --example measure -- idle|bulk|dial [N]`
//!
//! Each mode starts its server as a separate process.

use std::{
    error::Error,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport_quic::{Config, Connection, Endpoint, Keypair};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_else(|| "idle".to_owned());
    let count = args.next().map(|n| n.parse()).transpose()?;
    let runtime = tokio::runtime::Runtime::new()?;
    match mode.as_str() {
        "serve" => runtime.block_on(serve()),
        "idle" => runtime.block_on(idle(count.unwrap_or(1000))),
        "bulk" => runtime.block_on(bulk(count.unwrap_or(1 << 30))),
        "dial" => runtime.block_on(dial(count.unwrap_or(1000))),
        other => Err(format!("unknown mode {other}").into()),
    }
}

fn resident() -> Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4096)
}

/// Prints its address, then its resident bytes for each line it is sent.
async fn serve() -> Result<()> {
    let keypair = Keypair::generate_ed25519();
    let endpoint = Endpoint::bind("127.0.0.1:0".parse()?, &keypair, Config::default())?;
    println!("{}", endpoint.local_addr()?);
    tokio::spawn(async move {
        while let Ok(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                if let Ok(connection) = incoming.accept().await {
                    sink(connection).await;
                }
            });
        }
    });
    tokio::task::spawn_blocking(|| {
        for _ in std::io::stdin().lines() {
            println!("{}", resident().unwrap_or(0));
        }
    })
    .await?;
    Ok(())
}

/// Reads every stream to its end and answers with one byte.
async fn sink(connection: Connection) {
    while let Some(mut stream) = connection.accept().await {
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while stream.read(&mut buffer).await? > 0 {}
            stream.write_all(b"!").await?;
            stream.shutdown().await
        });
    }
}

struct Server {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().ok_or("no stdin")?;
        let mut from = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut line = String::new();
        from.read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self {
            child,
            to,
            from,
            address,
        })
    }

    fn resident(&mut self) -> Result<usize> {
        writeln!(self.to)?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client() -> Result<Endpoint> {
    let keypair = Keypair::generate_ed25519();
    Ok(Endpoint::bind(
        "127.0.0.1:0".parse()?,
        &keypair,
        Config::default(),
    )?)
}

async fn idle(count: usize) -> Result<()> {
    let mut server = Server::start()?;
    // The first few bring what all share into memory.
    let mut held = Vec::new();
    for _ in 0..20 {
        let endpoint = client()?;
        held.push((endpoint.dial(server.address, None).await?, endpoint));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = server.resident()?;
    for _ in 0..count {
        let endpoint = client()?;
        held.push((endpoint.dial(server.address, None).await?, endpoint));
    }
    for wait in [1, 5, 5] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let each = (server.resident()? - before) as f64 / count as f64 / 1024.0;
        println!("{each:.1} KiB per connection at the server, {count} connections");
    }
    drop(held);
    for wait in [5, 10] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let left = server.resident()?.saturating_sub(before) as f64 / f64::from(1 << 20);
        println!("{left:.1} MiB more than before, after all have left");
    }
    Ok(())
}

async fn bulk(bytes: usize) -> Result<()> {
    let server = Server::start()?;
    let endpoint = client()?;
    let connection = endpoint.dial(server.address, None).await?;
    let chunk = vec![0x5a; 64 << 10];
    for _ in 0..3 {
        let start = Instant::now();
        let mut stream = connection.open().await?;
        for _ in 0..bytes / chunk.len() {
            stream.write_all(&chunk).await?;
        }
        stream.shutdown().await?;
        stream.read_exact(&mut [0]).await?;
        let rate = bytes as f64 / start.elapsed().as_secs_f64() / f64::from(1 << 30);
        let stats = connection.stats();
        println!(
            "{rate:.3} GiB/s, mtu {}, cwnd {}, lost {} of {}",
            stats.mtu, stats.congestion_window, stats.lost_packets, stats.sent_packets
        );
    }
    Ok(())
}

async fn dial(count: usize) -> Result<()> {
    let server = Server::start()?;
    let endpoint = client()?;
    let mut took = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        let connection = endpoint.dial(server.address, None).await?;
        took.push(start.elapsed());
        drop(connection);
    }
    took.sort();
    println!(
        "dial p50 {:?}, p99 {:?}",
        took[count / 2],
        took[count * 99 / 100]
    );
    Ok(())
}
