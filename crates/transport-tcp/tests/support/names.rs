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
use tokio::net::UdpSocket;
use transport_tcp::{Direct, DirectConfig, Resolver};

/// A name server on loopback. A name that it does not know does not exist; one with the record type
/// `NULL` is never answered.
pub struct Names {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, RecordType)>>>,
    _task: tokio::task::JoinHandle<()>,
}

pub type Zone = BTreeMap<&'static str, Vec<RData>>;

impl Names {
    pub async fn serve(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
                let mut message = Message::from_vec(&buffer[..n]).unwrap();
                let query = message.queries[0].clone();
                let name = query
                    .name
                    .to_ascii()
                    .trim_end_matches('.')
                    .to_ascii_lowercase();
                log.lock().unwrap().push((name.clone(), query.query_type));
                message.metadata.message_type = MessageType::Response;
                message.metadata.recursion_available = true;
                match zone.get(name.as_str()) {
                    None => message.metadata.response_code = ResponseCode::NXDomain,
                    Some(records) => {
                        if records
                            .iter()
                            .any(|data| data.record_type() == RecordType::NULL)
                        {
                            continue;
                        }
                        let fit = records
                            .iter()
                            .filter(|d| d.record_type() == query.query_type);
                        let name: Name = query.name.clone();
                        let record = |d: &RData| Record::from_rdata(name.clone(), 60, d.clone());
                        message.answers = fit.map(record).collect();
                    }
                }
                socket
                    .send_to(&message.to_vec().unwrap(), from)
                    .await
                    .unwrap();
            }
        });
        Self {
            address,
            asked,
            _task: task,
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
