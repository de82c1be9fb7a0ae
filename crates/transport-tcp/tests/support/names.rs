//! A name server of our own, on loopback.

use std::{
    collections::BTreeMap,
    net::{Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use hickory_resolver::proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, NULL, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};
use transport_tcp::{Direct, DirectConfig, Resolver};

/// A name server on loopback. A name that it does not know does not exist; one with the record type
/// `NULL` is never answered.
pub struct Names {
    address: SocketAddr,
    asked: Asked,
    _tasks: [tokio::task::JoinHandle<()>; 2],
}

pub type Zone = BTreeMap<&'static str, Vec<RData>>;

type Asked = Arc<Mutex<Vec<(String, RecordType)>>>;

/// A longer answer goes over TCP.
const MAX_DATAGRAM: usize = 1232;

impl Names {
    /// Answers over UDP, and over TCP what does not fit.
    pub async fn serve(zone: Zone) -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let asked = Asked::default();
        let (log, zone) = (asked.clone(), Arc::new(zone));
        let over_tcp = serve_tcp(tcp, zone.clone(), log.clone());
        let over_udp = async move {
            let mut buffer = [0; 4096];
            loop {
                let (n, from) = udp.recv_from(&mut buffer).await.unwrap();
                if let Some(mut message) = answer(&zone, &log, &buffer[..n]) {
                    let mut bytes = message.to_vec().unwrap();
                    if bytes.len() > MAX_DATAGRAM {
                        message.answers.clear();
                        message.metadata.truncation = true;
                        bytes = message.to_vec().unwrap();
                    }
                    udp.send_to(&bytes, from).await.unwrap();
                }
            }
        };
        Self {
            address,
            asked,
            _tasks: [tokio::spawn(over_udp), tokio::spawn(over_tcp)],
        }
    }

    pub fn resolver(&self) -> Resolver {
        Resolver::with_nameservers(&[self.address]).unwrap()
    }

    pub fn direct(&self) -> Direct {
        Direct::new(DirectConfig::default().with_resolver(self.resolver()))
    }

    pub fn asked(&self) -> Vec<(String, RecordType)> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort();
        asked.dedup();
        asked
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

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>, log: Asked) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (zone, log) = (zone.clone(), log.clone());
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut question = vec![0; length.into()];
                stream.read_exact(&mut question).await.unwrap();
                if let Some(message) = answer(&zone, &log, &question) {
                    let bytes = message.to_vec().unwrap();
                    let length = u16::try_from(bytes.len()).unwrap();
                    let framed = [&length.to_be_bytes()[..], &bytes].concat();
                    if stream.write_all(&framed).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// The answer to a question, unless it is never answered.
fn answer(zone: &Zone, log: &Asked, question: &[u8]) -> Option<Message> {
    let mut message = Message::from_vec(question).unwrap();
    let query = message.queries[0].clone();
    let name = query.name.to_ascii();
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    log.lock().unwrap().push((name.clone(), query.query_type));
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    let Some(records) = zone.get(name.as_str()) else {
        message.metadata.response_code = ResponseCode::NXDomain;
        return Some(message);
    };
    let is = |kind| move |data: &&RData| data.record_type() == kind;
    if records.iter().any(|data| is(RecordType::NULL)(&data)) {
        return None;
    }
    let name: Name = query.name.clone();
    let record = |data: &RData| Record::from_rdata(name.clone(), 60, data.clone());
    let fit = records.iter().filter(is(query.query_type));
    message.answers = fit.map(record).collect();
    Some(message)
}

pub fn a(ip: [u8; 4]) -> RData {
    RData::A(A(ip.into()))
}

pub fn aaaa(ip: Ipv6Addr) -> RData {
    RData::AAAA(AAAA(ip))
}

pub fn dnsaddr(address: &str) -> RData {
    RData::TXT(TXT::new(vec![format!("dnsaddr={address}")]))
}

pub fn silence() -> RData {
    RData::NULL(NULL::new())
}
