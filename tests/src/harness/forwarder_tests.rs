use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

const DELAY: Duration = Duration::from_millis(10);

/// The ends of one direction.
fn way() -> (DuplexStream, DuplexStream, JoinHandle<io::Result<()>>) {
    let (near, from) = duplex(1 << 20);
    let (to, far) = duplex(1 << 20);
    (near, far, tokio::spawn(carry(from, to, DELAY)))
}

#[tokio::test(start_paused = true)]
async fn a_byte_arrives_after_the_delay_and_not_before() {
    let (mut near, mut far, _carrying) = way();
    let start = Instant::now();
    near.write_u8(7).await.unwrap();
    let just_before = DELAY - Duration::from_millis(1);
    assert!(timeout(just_before, far.read_u8()).await.is_err());
    assert_eq!(far.read_u8().await.unwrap(), 7);
    assert_eq!(start.elapsed(), DELAY);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_while_other_things_are_under_way_waits_for_none_of_them() {
    let (mut near, mut far, _carrying) = way();
    let start = Instant::now();
    near.write_all(b"first").await.unwrap();
    sleep(DELAY / 2).await;
    near.write_all(b"second").await.unwrap();
    let mut arrived = [0; 5];
    far.read_exact(&mut arrived).await.unwrap();
    assert_eq!((&arrived, start.elapsed()), (b"first", DELAY));
    let mut arrived = [0; 6];
    far.read_exact(&mut arrived).await.unwrap();
    assert_eq!((&arrived, start.elapsed()), (b"second", DELAY * 3 / 2));
}

#[tokio::test(start_paused = true)]
async fn much_arrives_as_soon_as_little_and_in_order() {
    let (mut near, mut far, carrying) = way();
    let start = Instant::now();
    let sent: Vec<u8> = (0..900_000_u32).map(|n| (n % 251) as u8).collect();
    near.write_all(&sent).await.unwrap();
    drop(near);
    let mut arrived = Vec::new();
    far.read_to_end(&mut arrived).await.unwrap();
    assert!(arrived == sent, "{} bytes arrived", arrived.len());
    assert_eq!(start.elapsed(), DELAY);
    carrying.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_end_takes_as_long_as_a_byte() {
    let (near, mut far, _carrying) = way();
    let start = Instant::now();
    drop(near);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(start.elapsed(), DELAY);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_deliver_stops() {
    let (mut near, far, carrying) = way();
    drop(far);
    near.write_u8(7).await.unwrap();
    let error = carrying.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn both_directions_and_a_reset_pass() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forwarder = Forwarder::start(server.local_addr().unwrap(), DELAY);
    let forwarder = forwarder.await.unwrap();
    let start = Instant::now();
    let mut client = TcpStream::connect(forwarder.address()).await.unwrap();
    let (mut server, _) = server.accept().await.unwrap();
    client.write_u8(1).await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), 1);
    server.write_u8(2).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), 2);
    assert!(start.elapsed() >= DELAY * 2);
    client.set_zero_linger().unwrap();
    drop(client);
    let error = server.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}
