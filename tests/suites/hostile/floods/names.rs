//! Host names that multiply: a name server that answers one `/dnsaddr` with 100 names, and each name with 1,500 addresses that
//! refuse connections.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hickory_resolver::proto::op::{Message, MessageType};
use hickory_resolver::proto::rr::rdata::{A, TXT};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use node::{Keypair, PeerId};
use socket2::{Domain, Socket, Type};
use tests::harness::Home;
use tests::harness::peers::Stack;
use tests::harness::process::{Deadline, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

use super::LIMITED;
use crate::figures::Figures;
use crate::node_under_attack::{Start, with_name_server};
use crate::siege::besiege;
use crate::{Outcome, Setting};

/// The name server, on the port that name servers have.
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 53);

const NAMES: usize = 100;
const ADDRESSES: usize = 1_500;

/// Answers over UDP that are longer than this are cut, and asked for again over TCP.
const UDP: usize = 512;

/// All IPv4 packets (`ETH_P_IP`), in the byte order of the network.
const ALL_IP: i32 = 0x0800_u16.to_be() as i32;

/// Connections per dial that the node promises not to exceed.
const PER_DIAL: u64 = 100;

/// The connections that the node promises not to exceed in so many seconds in which it redials the names by itself: as many as in
/// one dial, and then 20 per second.
fn of_redials(seconds: u64) -> u64 {
    PER_DIAL + 20 * seconds
}

/// The answers that the resolvers of TCP and QUIC keep: 8 each, with up to 64 KiB on the wire and 6 MiB in memory.
const CACHED: u64 = 12 << 20;

/// How long a `bowline ping` may take.
const PATIENCE: Duration = Duration::from_secs(60);

const MISSING: &str = "because this user may not make a mount namespace with unshare, or because it may not use port 53 and packet sockets";

/// The name server, and a count of the connections to its addresses. Both end when it is dropped.
struct Trap {
    state: Arc<State>,
    _runtime: Runtime,
    /// Has the port of all addresses, and does not listen: connections are refused.
    _port: Socket,
}

struct State {
    port: u16,
    peer: PeerId,
    reached: AtomicU64,
    sent: AtomicU64,
    ended: AtomicBool,
}

impl Trap {
    fn set() -> Result<Option<Self>> {
        if std::env::var_os("TOOL_UNSHARE").is_none() {
            return Ok(None);
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let bound = runtime.block_on(async {
            let at = (SERVER, 53);
            Ok::<_, io::Error>((UdpSocket::bind(at).await?, TcpListener::bind(at).await?))
        });
        let (Ok((udp, tcp)), Ok(packets)) = (bound, packets()) else {
            return Ok(None);
        };
        let port = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        port.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into())?;
        let bound = port.local_addr()?.as_socket();
        let state = Arc::new(State {
            port: bound.context("no port")?.port(),
            peer: Keypair::generate_ed25519().public().to_peer_id(),
            reached: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let counting = state.clone();
        thread::spawn(move || count_connects(packets, &counting));
        runtime.spawn(over_udp(udp, state.clone()));
        runtime.spawn(over_tcp(tcp, state.clone()));
        Ok(Some(Self {
            state,
            _runtime: runtime,
            _port: port,
        }))
    }

    fn reached(&self) -> u64 {
        self.state.reached.load(Ordering::Relaxed)
    }

    fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
    }
}

/// Receives a copy of each IP packet that arrives at this machine.
fn packets() -> io::Result<Socket> {
    let packets = Socket::new(Domain::PACKET, Type::DGRAM, Some(ALL_IP.into()))?;
    packets.set_recv_buffer_size(64 << 20)?;
    packets.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(packets)
}

/// Counts the first packets of connections to the port of the trap.
fn count_connects(mut packets: Socket, state: &State) {
    let mut packet = [0; 128];
    while !state.ended.load(Ordering::Relaxed) {
        let Ok(length) = packets.read(&mut packet) else {
            continue;
        };
        if is_syn(&packet[..length], state.port) {
            state.reached.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether an IPv4 packet asks for a TCP connection to this port (RFC 9293, section 3.1).
fn is_syn(packet: &[u8], port: u16) -> bool {
    let is_tcp = packet.len() >= 20 && packet[0] >> 4 == 4 && packet[9] == 6;
    let header = usize::from(packet.first().map_or(0, |first| first & 0xf)) * 4;
    let segment = packet
        .get(header..)
        .filter(|segment| is_tcp && segment.len() >= 14);
    segment.is_some_and(|segment| segment[2..4] == port.to_be_bytes() && segment[13] & 0x12 == 0x02)
}

/// A node that dials the name at its start.
pub(crate) fn of_a_node(setting: &Setting) -> Result<Outcome> {
    let Some(trap) = Trap::set()? else {
        return Ok(Outcome::Skipped(MISSING));
    };
    let start = Start {
        settings: LIMITED.to_owned(),
        flags: vec!["--bootstrap".to_owned(), "/dnsaddr/flood.test".to_owned()],
        name_server: Some(IpAddr::V4(SERVER)),
        ..Start::default()
    };
    let siege = besiege(setting, &start, Stack::TcpTls, |aim| async move {
        tokio::time::sleep_until(aim.until.into()).await;
        Ok(())
    })?;
    let mut figures = siege.figures;
    // The dial begins before the flood does, so the trap knows the number and the node's counter does not.
    figures.opened = trap.reached();
    figures.opened_at_most = of_redials(setting.length.as_secs() + 1);
    figures.cached = CACHED;
    figures.received = trap.sent();
    Ok(Outcome::Ran(Box::new(figures)))
}

/// `bowline ping` of the name.
pub(crate) fn of_a_ping(_: &Setting) -> Result<Outcome> {
    let Some(trap) = Trap::set()? else {
        return Ok(Outcome::Skipped(MISSING));
    };
    let home = Home::new()?;
    let ping = home.bowline(&["ping", "/dnsaddr/flood.test", "-c", "1", "--json"]);
    let mut ping = with_name_server(&home, IpAddr::V4(SERVER), &ping)?;
    let begun = Instant::now();
    let finished = run("bowline ping", &mut ping, Deadline::within(PATIENCE))?;
    let seconds = begun.elapsed().as_secs_f64();
    let lines = finished.stdout.iter().chain(&finished.stderr);
    Ok(Outcome::Ran(Box::new(Figures {
        opened: trap.reached(),
        opened_at_most: PER_DIAL,
        logged: lines.map(|line| line.len() as u64 + 1).sum(),
        received: trap.sent(),
        note: format!(
            "it ended after {seconds:.1} s with code {:?}",
            finished.code
        ),
        ..Figures::default()
    })))
}

async fn over_udp(socket: UdpSocket, state: Arc<State>) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        let Ok(mut reply) = answer(&buffer[..length], &state) else {
            continue;
        };
        if reply.to_vec()?.len() > UDP {
            reply.answers.clear();
            reply.metadata.truncation = true;
        }
        send_udp(&socket, &reply, from, &state).await?;
    }
}

async fn send_udp(
    socket: &UdpSocket,
    reply: &Message,
    to: SocketAddr,
    state: &State,
) -> Result<()> {
    let bytes = reply.to_vec()?;
    state.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    socket.send_to(&bytes, to).await?;
    Ok(())
}

async fn over_tcp(listener: TcpListener, state: Arc<State>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, state.clone()));
    }
}

/// DNS over TCP has a length of two bytes before each message (RFC 1035, section 4.2.2).
async fn serve(mut stream: TcpStream, state: Arc<State>) -> Result<()> {
    loop {
        let mut question = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut question).await?;
        let bytes = answer(&question, &state)?.to_vec()?;
        state.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        stream.write_u16(bytes.len() as u16).await?;
        stream.write_all(&bytes).await?;
    }
}

fn answer(question: &[u8], state: &State) -> Result<Message> {
    let mut message = Message::from_vec(question)?;
    let query = message.queries.first().context("no question")?.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    let name = query.name.to_ascii().to_ascii_lowercase();
    let data: Vec<RData> = match query.query_type {
        RecordType::TXT if name.starts_with("_dnsaddr.") => {
            let names = 0..NAMES;
            let (port, peer) = (state.port, state.peer);
            let text = |n| format!("dnsaddr=/dns4/n{n}.flood.test/tcp/{port}/p2p/{peer}");
            names.map(|n| RData::TXT(TXT::new(vec![text(n)]))).collect()
        }
        RecordType::A => {
            let number = name
                .strip_prefix('n')
                .and_then(|rest| rest.split('.').next());
            let number: usize = number.and_then(|number| number.parse().ok()).unwrap_or(0);
            (0..ADDRESSES)
                .map(|n| RData::A(A(target(number * ADDRESSES + n))))
                .collect()
        }
        _ => Vec::new(),
    };
    let record = |data| Record::from_rdata(query.name.clone(), 60, data);
    message.answers = data.into_iter().map(record).collect();
    Ok(message)
}

/// The nth address that is dialed. No two names share one.
fn target(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(
        127,
        78 + (n / 62_500) as u8,
        (n / 250 % 250) as u8,
        1 + (n % 250) as u8,
    )
}
