//! A name server on loopback that answers by a function, or that never answers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use node::{Multiaddr, transport_tcp::Resolver};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

const A: u16 = 1;
const TXT: u16 = 16;
/// A longer answer goes over TCP.
const MAX_DATAGRAM: usize = 1232;

/// The records of a name.
pub(crate) enum Records {
    Addresses(Vec<Ipv4Addr>),
    Dnsaddr(Vec<String>),
    /// One TXT record, in as many strings as it needs.
    Text(String),
}

/// A resolver whose name server never answers.
pub(crate) async fn silent() -> (Resolver, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (Resolver::with_nameservers(&[address]).unwrap(), socket)
}

/// A resolver whose name server answers every TXT question with these `/dnsaddr` records.
pub(crate) async fn dnsaddr(records: Vec<Multiaddr>) -> Resolver {
    let records: Vec<_> = records.iter().map(Multiaddr::to_string).collect();
    let server = Server::start(move |_| Records::Dnsaddr(records.clone())).await;
    server.resolver()
}

/// A name server that answers over UDP and TCP.
pub(crate) struct Server {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
}

impl Server {
    /// `zone` returns the records of a name.
    pub(crate) async fn start(zone: impl Fn(&str) -> Records + Send + Sync + 'static) -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let (zone, questions) = (Arc::new(zone), Arc::<AtomicUsize>::default());
        let (over_tcp, counter) = (Arc::clone(&zone), Arc::clone(&questions));
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                counter.fetch_add(1, Ordering::Relaxed);
                let mut answer = answer(&buffer[..length], &*zone);
                if answer.len() > MAX_DATAGRAM {
                    answer = truncated(&buffer[..length]);
                }
                let _ = udp.send_to(&answer, from).await;
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let zone = Arc::clone(&over_tcp);
                tokio::spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut question = vec![0; length.into()];
                        stream.read_exact(&mut question).await.unwrap();
                        let answer = answer(&question, &*zone);
                        let length = u16::try_from(answer.len()).unwrap();
                        let framed = [&length.to_be_bytes()[..], &answer].concat();
                        let _ = stream.write_all(&framed).await;
                    }
                });
            }
        });
        Self { address, questions }
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::with_nameservers(&[self.address]).unwrap()
    }

    /// The number of questions so far. A question that was repeated over TCP counts once.
    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }
}

/// Both on one port.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

/// The end of the question section, which has one question.
fn question_end(question: &[u8]) -> usize {
    12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5
}

fn truncated(question: &[u8]) -> Vec<u8> {
    let mut answer = question[..2].to_vec();
    answer.extend([0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    answer.extend(&question[12..question_end(question)]);
    answer
}

/// RFC 1035, section 4: the question is repeated, and each answer points to its name.
fn answer(question: &[u8], zone: &dyn Fn(&str) -> Records) -> Vec<u8> {
    let end = question_end(question);
    let (mut name, mut at) = (String::new(), 12);
    while question[at] != 0 {
        let label = &question[at + 1..at + 1 + usize::from(question[at])];
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        name.push('.');
        at += 1 + label.len();
    }
    let kind = u16::from_be_bytes([question[end - 4], question[end - 3]]);
    let data: Vec<Vec<u8>> = match (zone(name.trim_end_matches('.')), kind) {
        (Records::Addresses(ips), A) => ips.iter().map(|ip| ip.octets().to_vec()).collect(),
        (Records::Dnsaddr(addresses), TXT) => {
            let texts = addresses.iter().map(|address| format!("dnsaddr={address}"));
            texts.map(|text| strings(&text)).collect()
        }
        (Records::Text(text), TXT) => vec![strings(&text)],
        _ => Vec::new(),
    };
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1]);
    answer.extend((data.len() as u16).to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(&question[12..end]);
    for data in data {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60]);
        answer.extend((data.len() as u16).to_be_bytes());
        answer.extend(data);
    }
    answer
}

fn strings(text: &str) -> Vec<u8> {
    let strings = text.as_bytes().chunks(255);
    strings
        .flat_map(|string| [&[string.len() as u8], string].concat())
        .collect()
}
