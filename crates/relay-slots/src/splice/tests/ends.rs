//! How a circuit is ended from outside, and by a stream that does not accept its end.

use super::*;

/// A stream that is at its end and never accepts the end of the other one.
struct Stuck;

impl AsyncRead for Stuck {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_never_accepted_does_not_hold_the_circuit_for_ever() {
    let config = SpliceConfig::default().with_close(Duration::from_secs(3));
    let (mut source, mut destination) = (Framed::new([], false, 1), Stuck);
    let (started, meter) = (Instant::now(), Meter::default());
    let pumped = splice(&mut source, &mut destination, &config, &meter);
    let end = tokio::time::timeout(Duration::from_secs(60), pumped).await;
    let SpliceEnd::Failed { direction, error } = end.expect("it ends") else {
        panic!("it was accepted");
    };
    assert_eq!(
        (direction, error.kind()),
        (Direction::ToDestination, io::ErrorKind::TimedOut)
    );
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_pump_that_closes_hands_on_what_it_holds_and_ends_both_directions() {
    let (mut source, mut inner_source) = duplex(50);
    let (mut destination, mut inner_destination) = duplex(50);
    let (close, closing) = tokio::sync::oneshot::channel::<()>();
    let pump = tokio::spawn(async move {
        let (config, meter) = (SpliceConfig::default(), Meter::default());
        let closing = async { drop(closing.await) };
        let (source, destination) = (&mut inner_source, &mut inner_destination);
        let end = splice_until(source, destination, &config, &meter, closing).await;
        (end, meter.total())
    });
    // The destination's stream holds 50 bytes, and the pump holds the others.
    source.write_all(&pattern(120)).await.unwrap();
    tokio::task::yield_now().await;
    close.send(()).unwrap();
    let mut heard = Vec::new();
    destination.read_to_end(&mut heard).await.unwrap();
    assert!(heard == pattern(120), "{} of 120", heard.len());
    assert_eq!(source.read(&mut [0; 1]).await.unwrap(), 0, "both are told");
    let (end, bytes) = pump.await.unwrap();
    assert!(matches!(end, SpliceEnd::Closing), "{end:?}");
    assert_eq!(bytes, 120);
}
