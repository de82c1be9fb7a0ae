//! The driver and the sources that need no network, under a paused clock.
#![cfg(all(feature = "dnsaddr", feature = "tokio"))]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bootstrap::{
    Candidate, Driver, DriverEvent, Multiaddr, Origin, PeerId, PeerSource, Rejoin, RejoinConfig,
    RejoinEvent,
    sources::{self, List, Task, TxtLookup},
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

/// A look-up that counts its questions and answers with these records, or fails while there are none.
fn look_up(records: &Arc<Mutex<Vec<String>>>) -> (TxtLookup, Arc<Mutex<Vec<Instant>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (times, records) = (asked.clone(), records.clone());
    let look_up = TxtLookup::new(move |name| {
        assert_eq!(name, "_dnsaddr.example.org");
        times.lock().expect("no panic").push(Instant::now());
        let records: Vec<_> = records
            .lock()
            .expect("no panic")
            .iter()
            .map(|record| record.clone().into_bytes())
            .collect();
        async move {
            if records.is_empty() {
                Err("no such name".to_owned())
            } else {
                Ok(records)
            }
        }
    });
    (look_up, asked)
}

#[tokio::test(start_paused = true)]
async fn a_dnsaddr_name_that_fails_is_told_once_asked_at_the_backoff_s_pace_and_then_gives_its_peers()
 {
    let records = Arc::new(Mutex::new(Vec::new()));
    let (look_up, asked) = look_up(&records);
    let source = sources::dnsaddr(vec![("example.org".into(), None)], look_up, 7);
    let (mut driver, handle) = Driver::new(core::<PeerId, Multiaddr>(), vec![Box::new(source)]);
    let failed = events(&mut driver, 300 * SECOND).await;
    assert_eq!(
        problems(&failed),
        ["cannot resolve /dnsaddr/example.org: no such name"]
    );
    let questions = asked.lock().unwrap().len();
    assert!(
        (40..=100).contains(&questions),
        "{questions} questions in 300 s of isolation"
    );

    let (one, two) = (PeerId::random(), PeerId::random());
    let record = |peer, port| format!("dnsaddr=/ip4/192.0.2.1/tcp/{port}/p2p/{peer}");
    *records.lock().unwrap() = vec![record(one, 1), record(two, 2), record(one, 3)];
    events(&mut driver, 10 * SECOND).await;
    let known = handle.with(|core, now| core.candidates(now));
    let known: Vec<_> = known
        .iter()
        .map(|view| (view.peer.unwrap(), view.addresses.len()))
        .collect();
    assert_eq!(known, [(one, 2), (two, 1)]);

    // With enough peers, nobody is asked, not even after a minute.
    handle
        .with(|core, now| (0..8).for_each(|_| core.handle_connected(now, &PeerId::random(), None)));
    events(&mut driver, SECOND).await;
    let before = asked.lock().unwrap().len();
    events(&mut driver, 600 * SECOND).await;
    assert_eq!(asked.lock().unwrap().len(), before);
    handle.changed();
    events(&mut driver, SECOND).await;
    assert_eq!(
        asked.lock().unwrap().len(),
        before + 1,
        "a new network may have new records"
    );
}

/// One name gives a peer. The other fails, gives the same peer for a time, and fails again.
#[tokio::test(start_paused = true)]
async fn a_dnsaddr_name_that_fails_neither_hastens_the_others_nor_silences_their_failures() {
    let record = format!("dnsaddr=/ip4/192.0.2.1/tcp/1/p2p/{}", PeerId::random());
    let broken = Arc::new(Mutex::new(vec!["_dnsaddr.bad.example"]));
    let asked = Arc::new(Mutex::new(Vec::<String>::new()));
    let (names, failing) = (asked.clone(), broken.clone());
    let look_up = TxtLookup::new(move |name| {
        let fails = failing.lock().expect("no panic").contains(&&*name);
        names.lock().expect("no panic").push(name);
        let answer = match fails {
            true => Err("no such name".to_owned()),
            false => Ok(vec![record.clone().into_bytes()]),
        };
        std::future::ready(answer)
    });
    let names = ["good.example", "bad.example"].map(|name| (name.to_owned(), None));
    let source = sources::dnsaddr(names.into(), look_up, 7);
    let (mut driver, _handle) = Driver::new(core::<PeerId, Multiaddr>(), vec![Box::new(source)]);
    let told = async |driver: &mut _| problems(&events(driver, 301 * SECOND).await);
    let count = |name: &str| {
        let asked = asked.lock().expect("no panic");
        asked.iter().filter(|one| one.contains(name)).count()
    };
    let failure = |name: &str| format!("cannot resolve /dnsaddr/{name}.example: no such name");
    assert_eq!(told(&mut driver).await, [failure("bad")]);
    assert_eq!(count("good"), 6, "once a minute");
    assert!(count("bad") >= 40, "{} questions", count("bad"));
    broken
        .lock()
        .expect("no panic")
        .push("_dnsaddr.good.example");
    assert_eq!(told(&mut driver).await, [failure("good")]);
    broken.lock().expect("no panic").clear();
    assert_eq!(told(&mut driver).await, [""; 0], "both name the same peer");
    broken
        .lock()
        .expect("no panic")
        .push("_dnsaddr.bad.example");
    assert_eq!(told(&mut driver).await, [failure("bad")]);
}

#[tokio::test(start_paused = true)]
async fn records_that_change_in_each_round_keep_a_hundred_candidates_and_no_more() {
    let records = Arc::new(Mutex::new(Vec::new()));
    let (look_up, _) = look_up(&records);
    let source = sources::dnsaddr(vec![("example.org".into(), None)], look_up, 7);
    let (mut driver, handle) = Driver::new(core::<PeerId, Multiaddr>(), vec![Box::new(source)]);
    for _ in 0..3 {
        let record = |port| format!("dnsaddr=/ip4/192.0.2.1/tcp/{port}/p2p/{}", PeerId::random());
        *records.lock().unwrap() = (1..=60).map(record).collect();
        events(&mut driver, 61 * SECOND).await;
    }
    let known = handle.with(|core, now| core.candidates(now)).len();
    assert_eq!(known, 100);
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_never_answers_does_not_hold_the_source() {
    let look_up = TxtLookup::new(|_| std::future::pending());
    let source = sources::dnsaddr(vec![("example.org".into(), None)], look_up, 7);
    let (mut driver, _handle) = Driver::new(core::<PeerId, Multiaddr>(), vec![Box::new(source)]);
    let events = events(&mut driver, 6 * SECOND).await;
    assert_eq!(
        problems(&events),
        ["cannot resolve /dnsaddr/example.org: no answer within 5s"]
    );
}
