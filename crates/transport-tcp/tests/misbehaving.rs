//! What the dialer for tests does to dials and streams, and that a seed repeats it.
#![cfg(feature = "test")]
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpListener,
    time::{Instant, timeout},
};
use transport_tcp::{
    ByteStream, Deadline, DeadlineConfig, DialContext, DialError, DialStage, Dialer, Direct, Fault,
    Faults, Matcher, Misbehaving, Retry, RetryConfig, Rules, Target,
};

/// A network in memory. It keeps the far end of each stream.
#[derive(Clone, Default)]
struct Pipes(Arc<Mutex<Vec<DuplexStream>>>);

impl Pipes {
    fn last(&self) -> DuplexStream {
        let mut pipes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.pop().expect("a dialed stream")
    }
}

#[async_trait::async_trait]
impl Dialer for Pipes {
    async fn dial(&self, _: &Target, _: &DialContext) -> Result<ByteStream, DialError> {
        let (near, far) = tokio::io::duplex(1 << 20);
        let mut pipes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.push(far);
        Ok(ByteStream::boxed(near))
    }
}

fn target(port: u16) -> Target {
    format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
}

fn within(seconds: u64) -> DialContext {
    DialContext::new(Instant::now() + Duration::from_secs(seconds))
}

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_dial_takes_a_round_trip_and_each_byte_half_of_one() {
    let pipes = Pipes::default();
    let faults = Faults::default().with_delay(30 * MS, Duration::ZERO);
    let dialer = Misbehaving::new(pipes.clone(), 1, faults);
    let begun = Instant::now();
    let mut near = dialer.dial(&target(1), &within(10)).await.unwrap();
    assert_eq!(begun.elapsed(), 60 * MS);

    let mut far = pipes.last();
    let mut heard = [0; 4];
    let begun = Instant::now();
    near.write_all(b"ping").await.unwrap();
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(begun.elapsed(), 30 * MS);
    far.write_all(b"pong").await.unwrap();
    near.read_exact(&mut heard).await.unwrap();
    assert_eq!((begun.elapsed(), &heard), (60 * MS, b"pong"));
}

#[tokio::test(start_paused = true)]
async fn bandwidth_limits_each_direction_and_jitter_keeps_the_order() {
    let pipes = Pipes::default();
    let faults = Faults::default()
        .with_bandwidth(10_000)
        .with_delay(5 * MS, 50 * MS);
    let dialer = Misbehaving::new(pipes.clone(), 1, faults);
    let mut near = dialer.dial(&target(1), &within(10)).await.unwrap();
    let mut far = pipes.last();
    let sent: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    let mut heard = Vec::new();
    let begun = Instant::now();
    let (written, read) = tokio::join!(
        async {
            near.write_all(&sent).await?;
            near.shutdown().await
        },
        far.read_to_end(&mut heard),
    );
    written.unwrap();
    read.unwrap();
    assert!(heard == sent, "all bytes arrive in order");
    let took = begun.elapsed();
    assert!(
        (5000 * MS..5060 * MS).contains(&took),
        "50,000 bytes took {took:?}"
    );
}

/// The outcome of each of 200 dials, alternately to two targets, and the place at which its stream was cut.
async fn run(seed: u64, targets: [u16; 2]) -> [Vec<(String, usize)>; 2] {
    let pipes = Pipes::default();
    let faults = Faults::default()
        .with_refuse(0.2)
        .with_silence(0.1)
        .with_delay(MS, 9 * MS)
        .with_cut_after(0..=20_000);
    let dialer = Misbehaving::new(pipes.clone(), seed, faults);
    let mut outcomes = [Vec::new(), Vec::new()];
    for n in 0..200 {
        let begun = Instant::now();
        let (outcome, carried) = match dialer.dial(&target(targets[n % 2]), &within(1)).await {
            Ok(mut near) => {
                let mut far = pipes.last();
                let mut heard = Vec::new();
                let carry = async { while near.write_all(&[7; 100]).await.is_ok() {} };
                let (_, read) = tokio::join!(carry, far.read_to_end(&mut heard));
                (format!("{:?}", read.is_ok()), heard.len())
            }
            Err(error) => (format!("{:?}", error.stage()), 0),
        };
        let outcome = format!("{outcome} after {:?}", begun.elapsed());
        outcomes[n % 2].push((outcome, carried));
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_a_run_exactly_and_targets_do_not_disturb_each_other() {
    let first = run(7, [1, 2]).await;
    assert_eq!(first, run(7, [1, 2]).await);
    assert_ne!(first, run(8, [1, 2]).await);
    // Another second target changes nothing for the first target.
    assert_eq!(first[0], run(7, [1, 3]).await[0]);
    assert_ne!(first[0], first[1]);
}

#[tokio::test(start_paused = true)]
async fn refusals_and_silence_come_as_often_as_asked_and_look_like_the_real_ones() {
    let faults = Faults::default().with_refuse(0.3).with_silence(0.2);
    let dialer = Misbehaving::new(Pipes::default(), 3, faults);
    let control = dialer.control();
    let (mut refused, mut silent) = (0, 0);
    for _ in 0..1_000 {
        match dialer.dial(&target(1), &within(5)).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(
                    (error.stage(), error.fault()),
                    (DialStage::Connect, Fault::Target)
                );
                assert!(error.is_worth_retrying());
                match error {
                    DialError::Failed { tried, .. } => {
                        assert_eq!(tried[0].error.kind(), io::ErrorKind::ConnectionRefused);
                        refused += 1;
                    }
                    DialError::TimedOut { .. } => silent += 1,
                    other => panic!("{other}"),
                }
            }
        }
    }
    println!("of 1,000 dials, {refused} were refused and {silent} got no answer");
    assert!(
        (200..290).contains(&refused),
        "{refused}: 0.3 of the answered ones"
    );
    assert!((160..240).contains(&silent), "{silent}");
    assert_eq!((control.dials(), control.refused()), (1_000, refused));
}

#[tokio::test(start_paused = true)]
async fn a_silent_dial_ends_when_the_time_to_reach_its_target_is_over() {
    let faults = Faults::default().with_silence(1.0);
    let silent = Misbehaving::new(Pipes::default(), 1, faults);
    let limits = DeadlineConfig::default().with_reach(100 * MS);
    let begun = Instant::now();
    let error = Deadline::new(silent, limits)
        .dial(&target(1), &within(5))
        .await;
    assert!(matches!(error, Err(DialError::TimedOut { .. })));
    assert_eq!(begun.elapsed(), 100 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_carries_exactly_the_allowed_bytes_and_both_ends_notice() {
    let pipes = Pipes::default();
    let faults = Faults::default().with_cut_after(1_000..=1_000);
    let dialer = Misbehaving::new(pipes.clone(), 1, faults);
    let control = dialer.control();
    let mut near = dialer.dial(&target(1), &within(5)).await.unwrap();
    let mut far = pipes.last();
    near.write_all(&[1; 400]).await.unwrap();
    far.read_exact(&mut [0; 400]).await.unwrap();
    far.write_all(&[2; 5_000]).await.unwrap();
    let mut heard = Vec::new();
    let error = near.read_to_end(&mut heard).await.unwrap_err();
    assert_eq!(
        (heard.len(), error.kind()),
        (600, io::ErrorKind::ConnectionReset)
    );
    let error = near.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(control.streams_cut(), 1);
}

#[tokio::test]
async fn a_server_sees_a_reset_when_a_tcp_stream_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::from(listener.local_addr().unwrap());
    let dialer = Misbehaving::new(Direct::default(), 1, Faults::default());
    let (near, accepted) = tokio::join!(
        async { dialer.dial(&target, &within(5)).await.unwrap() },
        listener.accept()
    );
    dialer.control().cut();
    let mut accepted = accepted.unwrap().0;
    let mut byte = [0; 1];
    let read = timeout(Duration::from_secs(5), accepted.read(&mut byte)).await;
    let error = read.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    drop(near);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_stays_open_and_ends_with_its_owner() {
    let pipes = Pipes::default();
    let faults = Faults::default().with_stall_after(10..=10);
    let dialer = Misbehaving::new(pipes.clone(), 1, faults);
    let mut near = dialer.dial(&target(1), &within(5)).await.unwrap();
    let mut far = pipes.last();
    near.write_all(&[1; 100]).await.unwrap();
    far.read_exact(&mut [0; 10]).await.unwrap();
    let mut byte = [0; 1];
    timeout(Duration::from_secs(3600), far.read(&mut byte))
        .await
        .unwrap_err();
    drop(near);
    let ended = timeout(Duration::from_secs(1), far.read(&mut byte)).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_network_answers_no_dial_and_delivers_when_it_moves_again() {
    let pipes = Pipes::default();
    let dialer = Misbehaving::new(pipes.clone(), 1, Faults::default());
    let control = dialer.control();
    let mut near = dialer.dial(&target(1), &within(5)).await.unwrap();
    let mut far = pipes.last();
    control.stall(true);
    near.write_all(b"late").await.unwrap();
    let dialed = dialer.dial(&target(1), &within(5)).await;
    assert!(matches!(dialed, Err(DialError::TimedOut { .. })));
    let mut heard = [0; 4];
    timeout(Duration::from_secs(60), far.read_exact(&mut heard))
        .await
        .unwrap_err();
    control.stall(false);
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"late");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_the_owner_dropped_the_stream_arrives() {
    let pipes = Pipes::default();
    let faults = Faults::default().with_delay(100 * MS, Duration::ZERO);
    let dialer = Misbehaving::new(pipes.clone(), 1, faults);
    let mut near = dialer.dial(&target(1), &within(5)).await.unwrap();
    let mut far = pipes.last();
    near.write_all(b"goodbye").await.unwrap();
    far.write_all(b"nobody reads this").await.unwrap();
    drop(near);
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"goodbye");
}

#[tokio::test(start_paused = true)]
async fn two_seeds_repeat_a_run_with_retries() {
    let run = async |seed| {
        let faults = Faults::default().with_refuse(0.6).with_delay(MS, 9 * MS);
        let refusing = Misbehaving::new(Pipes::default(), 3, faults);
        let pauses = RetryConfig::default().with_attempts(9).with_seed(seed);
        let retry = Retry::new(refusing, pauses);
        let mut times = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            let is_open = retry.dial(&target(1), &within(60)).await.is_ok();
            times.push((is_open, begun.elapsed()));
        }
        times
    };
    let first = run(5).await;
    assert_eq!(first, run(5).await);
    assert_ne!(first, run(6).await);
}

#[tokio::test(start_paused = true)]
async fn it_composes_with_rules_and_retries() {
    let faults = Faults::default().with_refuse(1.0);
    let refusing = Misbehaving::new(Pipes::default(), 1, faults);
    let control = refusing.control();
    let retry = RetryConfig::default().with_attempts(5);
    let dialer = Rules::new()
        .via(
            "broken",
            Matcher::any().ports(1..=1),
            Retry::new(refusing, retry),
        )
        .via("the rest", Matcher::any(), Pipes::default());
    assert!(dialer.dial(&target(2), &within(60)).await.is_ok());
    let error = dialer.dial(&target(1), &within(60)).await.unwrap_err();
    assert!(matches!(error, DialError::GaveUp { attempts: 5, .. }));
    assert!(!dialer.is_direct(&target(1)), "QUIC must not go around it");

    let control_later = control.clone();
    let mended = async move {
        tokio::time::sleep(50 * MS).await;
        control_later.set(Faults::default());
    };
    let (dialed, ()) = tokio::join!(async { dialer.dial(&target(1), &within(60)).await }, mended);
    assert!(dialed.is_ok());
    assert!(control.dials() > control.refused());
}
