//! A name server on loopback that knows one name, or that never answers.

use node::{Multiaddr, transport_tcp::Resolver};
use tokio::net::UdpSocket;

/// A resolver whose name server never answers.
pub(crate) async fn silent() -> (Resolver, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (Resolver::with_nameservers(&[address]).unwrap(), socket)
}

/// A resolver whose name server answers every TXT question with these `/dnsaddr` records.
pub(crate) async fn dnsaddr(records: Vec<Multiaddr>) -> Resolver {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = answer(&buffer[..length], &records);
            let _ = socket.send_to(&answer, from).await;
        }
    });
    Resolver::with_nameservers(&[address]).unwrap()
}

/// RFC 1035, section 4: the question is repeated, and each answer points to its name.
fn answer(question: &[u8], records: &[Multiaddr]) -> Vec<u8> {
    let name = question[12..].iter().position(|byte| *byte == 0).unwrap();
    let end = 12 + name + 5;
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    for record in records {
        let text = format!("dnsaddr={record}");
        answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
        answer.extend((text.len() as u16 + 1).to_be_bytes());
        answer.push(text.len() as u8);
        answer.extend(text.as_bytes());
    }
    answer
}
