use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Wake, Waker},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};

use super::*;

mod ends;

struct Bench {
    source: DuplexStream,
    destination: DuplexStream,
    meter: Arc<Meter>,
    pump: JoinHandle<SpliceEnd>,
}

/// Two ends whose streams hold so many bytes, and the pump between them.
fn bench(holds: usize, config: SpliceConfig) -> Bench {
    let (source, mut inner_source) = duplex(holds);
    let (destination, mut inner_destination) = duplex(holds);
    let meter = Arc::new(Meter::default());
    let counted = meter.clone();
    let pump = tokio::spawn(async move {
        splice(&mut inner_source, &mut inner_destination, &config, &counted).await
    });
    Bench {
        source,
        destination,
        meter,
        pump,
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_arrives_whole_both_ways_and_is_counted() {
    let Bench {
        source,
        destination,
        meter,
        pump,
    } = bench(1000, SpliceConfig::default().with_buffer(777));
    let exchange = |mut stream: DuplexStream, sends: usize, expects: usize| async move {
        let (mut read, mut write) = tokio::io::split(&mut stream);
        let mut heard = Vec::new();
        let send = async {
            write.write_all(&pattern(sends)).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let hear = async { read.read_to_end(&mut heard).await.unwrap() };
        tokio::join!(send, hear);
        assert!(heard == pattern(expects));
    };
    let (there, back) = (300_001, 70_000);
    tokio::join!(
        exchange(source, there, back),
        exchange(destination, back, there)
    );
    assert!(matches!(pump.await.unwrap(), SpliceEnd::Done));
    assert_eq!(meter.bytes(Direction::ToDestination), there as u64);
    assert_eq!(meter.bytes(Direction::ToSource), back as u64);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_done_still_hears_the_other() {
    let mut bench = bench(64, SpliceConfig::default());
    bench.source.write_all(b"question").await.unwrap();
    bench.source.shutdown().await.unwrap();
    let mut heard = String::new();
    bench.destination.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "question");
    bench.destination.write_all(b"answer").await.unwrap();
    bench.destination.shutdown().await.unwrap();
    heard.clear();
    bench.source.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "answer");
    assert!(matches!(bench.pump.await.unwrap(), SpliceEnd::Done));
}

#[tokio::test(start_paused = true)]
async fn as_much_as_may_passes_and_the_next_byte_ends_it_in_either_direction() {
    for (sends, expected) in [
        (999, None),
        (1000, None),
        (1001, Some(Direction::ToDestination)),
        (1001, Some(Direction::ToSource)),
        (5000, Some(Direction::ToDestination)),
    ] {
        let config = SpliceConfig::default().with_limits(Some(1000), None);
        let Bench {
            source,
            destination,
            meter,
            pump,
        } = bench(10_000, config.with_buffer(300));
        let (mut sender, mut receiver) = match expected {
            Some(Direction::ToSource) => (destination, source),
            _ => (source, destination),
        };
        sender.write_all(&pattern(sends)).await.unwrap();
        sender.shutdown().await.unwrap();
        receiver.shutdown().await.unwrap();
        let end = pump.await.unwrap();
        let found = match end {
            SpliceEnd::Done => None,
            SpliceEnd::Data { direction } => Some(direction),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "after {sends} bytes");
        let mut heard = Vec::new();
        receiver.read_to_end(&mut heard).await.unwrap();
        assert!(
            heard == pattern(sends.min(1000)),
            "{} of {sends}",
            heard.len()
        );
        let counted =
            [Direction::ToDestination, Direction::ToSource].map(|direction| meter.bytes(direction));
        assert_eq!(counted[0] + counted[1], sends.min(1000) as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn time_is_up_when_it_is_however_busy_the_circuit_is() {
    let limit = Duration::from_secs(120);
    let config = SpliceConfig::default().with_limits(None, Some(limit));
    let Bench {
        mut source,
        mut destination,
        pump,
        ..
    } = bench(64, config);
    let started = Instant::now();
    let busy = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut byte = [0];
        while source.write_all(b"x").await.is_ok() {
            if destination.read(&mut byte).await.unwrap_or(0) == 0 {
                break;
            }
            tick.tick().await;
        }
    });
    assert!(matches!(pump.await.unwrap(), SpliceEnd::Duration));
    let took = started.elapsed();
    assert!(
        took >= limit && took < limit + Duration::from_millis(5),
        "{took:?}"
    );
    busy.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_holds_the_sender_up_and_nobody_else() {
    let mut bench = bench(100, SpliceConfig::default().with_buffer(50));
    // The destination reads nothing: its stream, the buffer and the source's stream are all that fits.
    let flood = pattern(1000);
    let sent = bench.source.write_all(&flood);
    let stuck = tokio::time::timeout(Duration::from_secs(1), sent).await;
    assert!(stuck.is_err(), "somebody took it all");
    assert_eq!(bench.meter.bytes(Direction::ToDestination), 100);
    // The other direction continues.
    bench.destination.write_all(b"still here").await.unwrap();
    let mut heard = [0; 10];
    bench.source.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_is_told_with_its_direction() {
    let Bench {
        mut source,
        destination,
        pump,
        ..
    } = bench(64, SpliceConfig::default());
    drop(destination);
    source.write_all(b"into nothing").await.unwrap();
    let end = pump.await.unwrap();
    let SpliceEnd::Failed { direction, .. } = end else {
        panic!("{end:?}");
    };
    assert_eq!(direction, Direction::ToDestination);
}

/// A stream that always has bytes and always takes them.
struct Endless;

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(&vec![0; buffer.remaining()]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

#[tokio::test]
async fn a_circuit_that_is_never_idle_lets_others_have_their_turn_and_goes_on() {
    let (config, meter) = (SpliceConfig::default(), Meter::default());
    let (mut one, mut other) = (Endless, Endless);
    let mut pump = pin!(splice(&mut one, &mut other, &config, &meter));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(pump.as_mut().poll(&mut cx).is_pending());
    assert!(woken.0.load(Relaxed), "nobody would poll it again");
    let first = (
        meter.bytes(Direction::ToDestination),
        meter.bytes(Direction::ToSource),
    );
    assert!(first.0 > 0 && first.1 > 0, "{first:?}");
}

/// A stream that gives a piece a read and then breaks or ends, and takes no more than a frame a write.
struct Framed {
    pieces: VecDeque<Vec<u8>>,
    breaks: bool,
    frame: usize,
    taken: Vec<Vec<u8>>,
}

impl Framed {
    fn new(pieces: impl IntoIterator<Item = usize>, breaks: bool, frame: usize) -> Self {
        Self {
            pieces: pieces.into_iter().map(pattern).collect(),
            breaks,
            frame,
            taken: Vec::new(),
        }
    }
}

impl AsyncRead for Framed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.pieces.pop_front() else {
            return match self.breaks {
                true => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                false => Poll::Ready(Ok(())),
            };
        };
        let rest = piece.split_off(piece.len().min(buffer.remaining()));
        buffer.put_slice(&piece);
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Framed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = bytes.len().min(self.frame);
        self.taken.push(bytes[..length].to_vec());
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_a_frame_has_no_room_for_joins_what_comes_next() {
    let mut source = Framed::new([99_999], false, 1);
    let mut destination = Framed::new([], false, 998);
    let (config, meter) = (SpliceConfig::default().with_buffer(1000), Meter::default());
    let end = splice(&mut source, &mut destination, &config, &meter).await;
    assert!(matches!(end, SpliceEnd::Done));
    let (last, frames) = destination.taken.split_last().unwrap();
    assert!(frames.iter().all(|frame| frame.len() == 998));
    assert_eq!(last.len(), 99_999 % 998);
    assert!(destination.taken.concat() == pattern(99_999));
}

#[tokio::test]
async fn what_came_before_a_stream_broke_is_handed_on() {
    let mut source = Framed::new([100, 100], true, 1);
    let mut destination = Framed::new([], false, 30);
    let (config, meter) = (SpliceConfig::default(), Meter::default());
    let end = splice(&mut source, &mut destination, &config, &meter).await;
    let SpliceEnd::Failed { direction, error } = end else {
        panic!("{end:?}");
    };
    assert_eq!(
        (direction, error.kind()),
        (Direction::ToDestination, io::ErrorKind::ConnectionReset)
    );
    assert_eq!(meter.bytes(Direction::ToDestination), 200);
    assert_eq!(
        destination.taken.concat(),
        [pattern(100), pattern(100)].concat()
    );
}
