//! The driver and the sources that need no network, under a paused clock.
#![cfg(all(feature = "dnsaddr", feature = "tokio"))]

mod dnsaddr;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bootstrap::{
    Candidate, Driver, DriverEvent, Multiaddr, Origin, PeerId, PeerSource, Rejoin, RejoinConfig,
    RejoinEvent, SourceError,
    sources::{self, List, Task},
};
use tokio::time::{Instant, advance, timeout};

const SECOND: Duration = Duration::from_secs(1);

type Sources<Id, A> = Vec<Box<dyn PeerSource<Id, A>>>;

fn core<Id: Clone + Ord, A: Clone + PartialEq>() -> Rejoin<Id, A> {
    Rejoin::new(None, 7, RejoinConfig::default())
}

/// The events of so much time.
async fn events<Id: Clone + Ord, A: Clone + PartialEq>(
    driver: &mut Driver<Id, A>,
    time: Duration,
) -> Vec<DriverEvent<Id, A>> {
    let (mut events, end) = (Vec::new(), Instant::now() + time);
    while let Ok(event) = tokio::time::timeout_at(end, driver.next()).await {
        events.push(event);
    }
    events
}

fn problems<Id, A>(events: &[DriverEvent<Id, A>]) -> Vec<String> {
    let problem = |event: &DriverEvent<Id, A>| match event {
        DriverEvent::Problem(problem) => Some(problem.to_string()),
        _ => None,
    };
    events.iter().filter_map(problem).collect()
}

#[tokio::test(start_paused = true)]
async fn joined_waits_for_the_state_and_says_at_the_deadline_why_it_is_another() {
    let list = List::new([Candidate::new(Some(1), vec!["a"], Origin::List)]);
    let (mut driver, handle) = Driver::new(core(), vec![Box::new(list)]);
    let late = handle
        .joined(Instant::now() + 5 * SECOND)
        .await
        .unwrap_err();
    let told = "not joined by the deadline: isolated: no peer is known that could be dialed";
    assert_eq!(late.to_string(), told, "nobody runs the driver");
    let DriverEvent::Rejoin(RejoinEvent::Dial { peer: Some(1), .. }) = driver.next().await else {
        panic!("no dial");
    };
    handle.with(|core, now| core.handle_connected(now, &1, Some("a")));
    let start = Instant::now();
    let running = async { events(&mut driver, 10 * SECOND).await };
    let joined = async {
        let joined = handle.joined(start + 9 * SECOND).await;
        (joined, start.elapsed())
    };
    let ((joined, after), _) = tokio::join!(joined, running);
    joined.unwrap();
    assert!((3 * SECOND..4 * SECOND).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_gap_between_two_ticks_redials_at_once_and_tells_the_sources() {
    let told = Arc::new(Mutex::new(0));
    let count = told.clone();
    let source = Task::new(move |mut finds| async move {
        finds
            .candidate(Candidate::new(Some(1), vec![1], Origin::Saved))
            .await;
        loop {
            if finds.need_or_change().await {
                *count.lock().unwrap() += 1;
            }
        }
    });
    let (mut driver, handle) = Driver::new(core(), vec![Box::new(source)]);
    let calm = events(&mut driver, 60 * SECOND).await;
    assert!(
        !calm
            .iter()
            .any(|event| matches!(event, DriverEvent::Resumed(_)))
    );
    advance(6 * SECOND).await;
    let mut woken = Vec::new();
    for _ in 0..4 {
        woken.extend(timeout(SECOND / 100, driver.next()).await);
    }
    assert!(
        woken
            .iter()
            .any(|event| matches!(event, DriverEvent::Resumed(_))),
        "{woken:?}"
    );
    let dials = woken
        .iter()
        .filter(|event| matches!(event, DriverEvent::Rejoin(RejoinEvent::Dial { .. })));
    assert!(dials.count() >= 1);
    assert_eq!(*told.lock().unwrap(), 1);
    handle.changed();
    events(&mut driver, SECOND).await;
    assert_eq!(*told.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_stops_starves_neither_the_others_nor_the_host() {
    let flood = Task::new(|finds| async move {
        for n in 0u32.. {
            finds
                .candidate(Candidate::new(Some(n), vec![n], Origin::Other))
                .await;
        }
    });
    let quiet = List::new([Candidate::new(Some(u32::MAX), vec![1], Origin::Kept)]);
    let sources: Sources<u32, u32> = vec![Box::new(flood), Box::new(quiet)];
    let (mut driver, handle) = Driver::new(core(), sources);
    let host = tokio::spawn(async move {
        for _ in 0..5_000 {
            let known = handle.with(|core, now| core.candidates(now));
            if known.iter().any(|view| view.peer == Some(u32::MAX)) {
                return known.len();
            }
            tokio::task::yield_now().await;
        }
        0
    });
    let known = tokio::select! {
        known = host => known.unwrap(),
        () = async { loop { driver.next().await; } } => 0,
    };
    assert!((1..=1024).contains(&known));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_driver_stops_its_sources() {
    let alive = Arc::new(());
    let held = alive.clone();
    let source = Task::<u32, u32>::new(|finds| async move {
        let _held = (held, finds);
        std::future::pending::<()>().await;
    });
    let (mut driver, _handle) = Driver::new(core(), vec![Box::new(source)]);
    events(&mut driver, SECOND).await;
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(driver);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_when_it_changes_and_its_bad_lines_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    let (mut driver, handle) = Driver::new(core(), vec![Box::new(sources::file(&path))]);
    let known = || {
        let known = handle.with(|core, now| core.candidates(now));
        let addresses = known.iter().map(|view| view.addresses[0].to_string());
        addresses.collect::<Vec<_>>()
    };
    let missing = events(&mut driver, 10 * SECOND).await;
    assert_eq!(
        problems(&missing),
        [format!("cannot read {}", path.display())],
        "told once"
    );

    std::fs::write(
        &path,
        "# ours\n/ip4/192.0.2.1/tcp/1\nnonsense\n/ip4/192.0.2.2/tcp/1\n",
    )
    .unwrap();
    let bad = events(&mut driver, 10 * SECOND).await;
    assert_eq!(problems(&bad).len(), 1);
    assert!(problems(&bad)[0].starts_with(&format!("{}:3: \"nonsense\"", path.display())));
    assert_eq!(known(), ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"]);

    std::fs::write(&path, "/ip4/192.0.2.2/tcp/1\n/ip4/192.0.2.3/tcp/1\n").unwrap();
    events(&mut driver, 3 * SECOND).await;
    assert_eq!(known(), ["/ip4/192.0.2.2/tcp/1", "/ip4/192.0.2.3/tcp/1"]);

    std::fs::remove_file(&path).unwrap();
    assert_eq!(problems(&events(&mut driver, 10 * SECOND).await).len(), 1);
    assert_eq!(
        known().len(),
        2,
        "a file that is gone takes no candidate with it"
    );
}

/// A writer first empties the file. The source may then see its length before, and its content after the writing.
#[tokio::test(start_paused = true)]
async fn a_bad_line_that_stays_is_named_once_although_the_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    std::fs::write(&path, "nonsense\n").unwrap();
    let source = sources::file(&path);
    let (mut driver, _handle) = Driver::new(core::<PeerId, Multiaddr>(), vec![Box::new(source)]);
    assert_eq!(problems(&events(&mut driver, 5 * SECOND).await).len(), 1);
    std::fs::write(&path, "nonsense\n/ip4/192.0.2.1/tcp/1\nworse\n").unwrap();
    let again = problems(&events(&mut driver, 4 * SECOND).await);
    assert_eq!(again.len(), 1, "{again:?}");
    assert!(again[0].contains(":3: \"worse\""), "{again:?}");
}

/// A driver that waits for its next event in a task of its own, half a second after its last tick.
async fn waiting(
    mut driver: Driver<u32, &'static str>,
) -> tokio::task::JoinHandle<(DriverEvent<u32, &'static str>, Instant)> {
    events(&mut driver, 10 * SECOND + SECOND / 2).await;
    let waiting = tokio::spawn(async move { (driver.next().await, Instant::now()) });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    waiting
}

#[tokio::test(start_paused = true)]
async fn a_report_and_a_change_of_the_network_wake_the_driver_at_once() {
    let is_dial = |event: &DriverEvent<u32, &str>| {
        matches!(event, DriverEvent::Rejoin(RejoinEvent::Dial { .. }))
    };
    let candidate = || Candidate::new(Some(1), vec!["a"], Origin::Saved);
    let (driver, handle) = Driver::new(core(), Vec::new());
    let (waiting, begun) = (waiting(driver).await, Instant::now());
    handle.with(|core, now| core.handle_candidate(now, candidate()));
    let (event, at) = waiting.await.unwrap();
    assert!(is_dial(&event) && at == begun, "{event:?}");

    let day = 24 * 3600 * SECOND;
    let slow = RejoinConfig::default().with_base(day).with_caps(day, day);
    let (driver, handle) = Driver::new(Rejoin::new(None, 7, slow), Vec::new());
    handle.with(|core, now| core.handle_candidate(now, candidate()));
    let (waiting, begun) = (self::waiting(driver).await, Instant::now());
    handle.changed();
    let (event, at) = waiting.await.unwrap();
    assert!(is_dial(&event) && at == begun, "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn all_findings_of_a_function_that_has_ended_are_taken() {
    let source = Task::new(|finds| async move {
        for n in 1..=3 {
            finds
                .candidate(Candidate::new(Some(n), vec![n], Origin::Other))
                .await;
        }
    });
    let (mut driver, handle) = Driver::new(core::<u32, u32>(), vec![Box::new(source)]);
    events(&mut driver, SECOND).await;
    let known = handle.with(|core, now| core.candidates(now));
    assert_eq!(known.len(), 3);
}

/// A pipe would otherwise hold the source until somebody writes to it.
#[tokio::test(start_paused = true)]
async fn a_path_that_is_no_regular_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let source = sources::file(folder.path());
    let (mut driver, _handle) = Driver::new(core::<PeerId, Multiaddr>(), vec![Box::new(source)]);
    let events = events(&mut driver, 5 * SECOND).await;
    let [DriverEvent::Problem(SourceError::Read { source, .. })] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(source.to_string(), "not a regular file");
}
