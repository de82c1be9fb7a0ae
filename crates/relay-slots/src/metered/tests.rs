use std::{future::poll_fn, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

/// Takes all buffers of a vectored write at once, and remembers how many came.
#[derive(Default)]
struct Sink {
    slices: Vec<usize>,
    bytes: Vec<u8>,
}

impl AsyncWrite for Sink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.slices.push(1);
        self.bytes.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.slices.push(bufs.len());
        bufs.iter()
            .for_each(|buf| self.bytes.extend_from_slice(buf));
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn allowance(data: u64) -> Arc<Allowance> {
    let limit = Limit::new(None, Some(data));
    Arc::new(Allowance::new(Some(limit), Instant::now()))
}

#[tokio::test]
async fn a_vectored_write_reaches_the_stream_in_one_piece_and_is_counted() {
    let allowance = allowance(100);
    let mut metered = MeteredStream::new(Sink::default(), Arc::clone(&allowance));
    assert!(metered.is_write_vectored());
    let slices = [b"head".as_slice(), b"", b"body"].map(IoSlice::new);
    let written = poll_fn(|cx| Pin::new(&mut metered).poll_write_vectored(cx, &slices)).await;
    assert_eq!(written.unwrap(), 8);
    assert_eq!(metered.inner.slices, [3]);
    assert_eq!(metered.inner.bytes, b"headbody");
    assert_eq!(allowance.bytes_written(), 8);
    assert_eq!(allowance.remaining().unwrap().bytes, Some(92));
    let (plain, _other) = duplex(10);
    let vectored = plain.is_write_vectored();
    let metered = MeteredStream::new(plain, allowance);
    assert_eq!(metered.is_write_vectored(), vectored);
}

#[tokio::test]
async fn what_is_left_is_that_of_the_busier_direction_and_never_below_zero() {
    let allowance = allowance(10);
    let (ours, mut theirs) = duplex(100);
    let mut metered = MeteredStream::new(ours, Arc::clone(&allowance));
    metered.write_all(b"abc").await.unwrap();
    assert_eq!(allowance.remaining().unwrap().bytes, Some(7));
    theirs.write_all(b"abcd").await.unwrap();
    let mut read = [0; 4];
    metered.read_exact(&mut read).await.unwrap();
    assert_eq!((allowance.bytes_read(), allowance.bytes_written()), (4, 3));
    assert_eq!(allowance.remaining().unwrap().bytes, Some(6));
    assert!(metered.write_all(&[0; 20]).await.is_err());
    assert_eq!(allowance.remaining().unwrap().bytes, Some(0));
}

fn reached(error: &io::Error) -> LimitReached {
    let source = error.get_ref().expect("an error of its own");
    *source.downcast_ref().expect("a limit")
}

#[tokio::test]
async fn every_byte_of_the_limit_is_carried_in_both_directions_and_not_one_more() {
    for vectored in [false, true] {
        let (ours, mut theirs) = duplex(100);
        let mut metered = MeteredStream::new(ours, allowance(10));
        let mut sent = 0;
        let error = loop {
            let slices = [&b"abc"[..], b"", b"defg"].map(IoSlice::new);
            let written = match vectored {
                true => metered.write_vectored(&slices).await,
                false => metered.write(b"abcdefg").await,
            };
            match written {
                Ok(bytes) => sent += bytes,
                Err(error) => break error,
            }
            assert!(sent <= 10, "{sent}");
        };
        assert_eq!(
            (sent, reached(&error)),
            (10, LimitReached::Data { limit: 10 })
        );
        assert_eq!(metered.write(&[]).await.unwrap(), 0);
        let mut heard = [0; 10];
        theirs.read_exact(&mut heard).await.unwrap();

        theirs.write_all(&[7; 11]).await.unwrap();
        let mut heard = Vec::new();
        let error = metered.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!(heard, [7; 10]);
        assert_eq!(reached(&error), LimitReached::Data { limit: 10 });
        assert_eq!(metered.allowance().bytes_read(), 10);
    }
}

#[tokio::test]
async fn a_stream_that_ends_with_the_last_byte_of_its_limit_ends_well() {
    let (ours, mut theirs) = duplex(100);
    let mut metered = MeteredStream::new(ours, allowance(10));
    theirs.write_all(&[7; 10]).await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut heard = Vec::new();
    metered.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, [7; 10]);
    metered.write_all(&[7; 10]).await.unwrap();
    metered.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_over_a_silent_reader_and_a_writer_that_is_stuck_are_woken() {
    let begun = tokio::time::Instant::now();
    let limit = Limit::new(Some(Duration::from_secs(5)), None);
    let allowance = Allowance::new(Some(limit), begun.into_std());
    let (ours, _theirs) = duplex(10);
    let metered = MeteredStream::new(ours, Arc::new(allowance));
    let (mut reader, mut writer) = tokio::io::split(metered);
    let reading = tokio::spawn(async move { reader.read_u8().await.map(|_| ()) });
    let writing = tokio::spawn(async move { writer.write_all(&[7; 100]).await });
    for end in [reading, writing] {
        let ended = tokio::time::timeout(Duration::from_secs(60), end).await;
        let error = ended.expect("it is woken").unwrap().unwrap_err();
        let limit = Duration::from_secs(5);
        assert_eq!(reached(&error), LimitReached::Duration { limit });
        assert_eq!(begun.elapsed(), limit);
    }
}

#[test]
fn a_limit_ends_at_a_point_in_time_and_no_limit_leaves_nothing_to_count() {
    let now = Instant::now();
    let limit = Limit::new(Some(Duration::from_secs(120)), None);
    let allowance = Allowance::new(Some(limit), now);
    let until = Some(now + Duration::from_secs(120));
    let expected = Remaining { until, bytes: None };
    assert_eq!(allowance.remaining(), Some(expected));
    assert_eq!(allowance.limit(), Some(limit));
    assert_eq!(Allowance::new(None, now).remaining(), None);
}
