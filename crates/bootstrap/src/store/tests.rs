//! The store on real files.

use std::fs;

use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::*;
use crate::{Found, PeerSource, sources::Task};

const SECOND: Duration = Duration::from_secs(1);

fn open(path: &Path, config: StoreConfig) -> (Store, Task<PeerId, Multiaddr>) {
    let (store, loaded) = Store::open(path, config);
    (store, crate::sources::saved(loaded))
}

fn address(n: u8) -> Multiaddr {
    format!("/ip4/44.{n}.0.1/tcp/4077").parse().unwrap()
}

/// What the source of a store names at once.
async fn named(
    source: &mut Task<PeerId, Multiaddr>,
) -> (Vec<(PeerId, Vec<Multiaddr>)>, Vec<String>) {
    let (mut peers, mut problems) = (Vec::new(), Vec::new());
    std::future::poll_fn(|cx| {
        while let std::task::Poll::Ready(Some(found)) = source.poll_found(cx) {
            match found {
                Found::Candidate(candidate) => {
                    peers.push((candidate.peer.unwrap(), candidate.addresses))
                }
                Found::Problem(problem) => problems.push(problem.to_string()),
                Found::Withdrawn(_) => panic!("a saved peer was withdrawn"),
            }
        }
        std::task::Poll::Ready(())
    })
    .await;
    (peers, problems)
}

#[tokio::test]
async fn peers_are_there_after_a_restart_those_that_stayed_longest_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (store, mut source) = open(&path, StoreConfig::default());
    assert_eq!(named(&mut source).await, (vec![], vec![]));
    let (short, long) = (PeerId::random(), PeerId::random());
    store.save(short, vec![address(1)], 10 * SECOND);
    store.save(long, vec![address(2)], 10 * SECOND);
    store.save(long, vec![address(3)], 60 * SECOND);
    store.save(long, vec![], 50 * SECOND);
    assert!(store.close(10 * SECOND).await);

    let (_store, loaded) = Store::open(&path, StoreConfig::default());
    let known = loaded
        .peers()
        .iter()
        .map(|known| (known.peer, known.stayed));
    assert_eq!(
        known.collect::<Vec<_>>(),
        [(long, 60 * SECOND), (short, 10 * SECOND)]
    );
    let (peers, problems) = named(&mut crate::sources::saved(loaded)).await;
    assert_eq!(
        peers,
        [
            (long, vec![address(3), address(2)]),
            (short, vec![address(1)])
        ]
    );
    assert!(problems.is_empty());
}

#[tokio::test]
async fn a_peer_is_on_the_disk_within_a_second_without_a_goodbye() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (store, _source) = open(&path, StoreConfig::default());
    let peer = PeerId::random();
    store.save(peer, vec![address(1)], 10 * SECOND);
    // The copy is what a killed process leaves behind.
    let copy = folder.path().join("copy");
    let start = std::time::Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        fs::copy(&path, &copy).unwrap();
        let (_, mut source) = open(&copy, StoreConfig::default());
        if named(&mut source).await.0 == [(peer, vec![address(1)])] {
            break;
        }
        assert!(start.elapsed() < 20 * SECOND, "not saved");
    }
    println!("saved after {:?}", start.elapsed());
    drop(store);
}

#[tokio::test]
async fn a_host_that_takes_the_problems_of_the_opening_is_not_told_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    fs::write(&path, "nonsense").unwrap();
    let (_store, mut loaded) = Store::open(&path, StoreConfig::default());
    let taken = loaded.take_problems();
    assert!(
        matches!(&taken[..], [SourceError::SetAside { .. }]),
        "{taken:?}"
    );
    let mut source = crate::sources::saved(loaded);
    assert_eq!(named(&mut source).await, (vec![], vec![]));
}

#[tokio::test]
async fn a_file_that_is_damaged_is_set_aside_and_the_store_starts_empty_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (store, _source) = open(&path, StoreConfig::default());
    for n in 0..50 {
        store.save(PeerId::random(), vec![address(n)], 10 * SECOND);
    }
    assert!(store.close(10 * SECOND).await);
    let good = fs::read(&path).unwrap();

    let cut = good[..good.len() / 2].to_vec();
    let mut upset = good.clone();
    upset
        .iter_mut()
        .skip(100)
        .for_each(|byte| *byte = byte.wrapping_mul(31) ^ 0x5a);
    for (n, bytes) in [b"nonsense".to_vec(), cut, upset].into_iter().enumerate() {
        fs::write(&path, &bytes).unwrap();
        let (store, mut source) = open(&path, StoreConfig::default());
        let (peers, problems) = named(&mut source).await;
        assert!(peers.is_empty());
        let aside = folder.path().join(if n == 0 {
            "peers.damaged".into()
        } else {
            format!("peers.damaged-{}", n + 1)
        });
        let told = format!(
            "{} is damaged and was moved to {}",
            path.display(),
            aside.display()
        );
        assert!(problems[0].starts_with(&told), "{problems:?}");
        assert_eq!(
            fs::read(&aside).unwrap().len(),
            bytes.len(),
            "what was there is kept"
        );
        let peer = PeerId::random();
        store.save(peer, vec![address(1)], 10 * SECOND);
        assert!(store.close(10 * SECOND).await);
        let (store, mut source) = open(&path, StoreConfig::default());
        assert_eq!(named(&mut source).await.0, [(peer, vec![address(1)])]);
        assert!(store.close(10 * SECOND).await);
    }
}

#[tokio::test]
async fn any_single_byte_that_changes_leaves_a_store_that_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (store, _source) = open(&path, StoreConfig::default());
    store.save(PeerId::random(), vec![address(1)], 10 * SECOND);
    assert!(store.close(10 * SECOND).await);
    let good = fs::read(&path).unwrap();
    // The header, and then places all over the file.
    let places = (0..320)
        .step_by(7)
        .chain((320..good.len()).step_by(good.len() / 24));
    for place in places {
        let mut bytes = good.clone();
        bytes[place] ^= 0xff;
        fs::write(&path, &bytes).unwrap();
        let (store, mut source) = open(&path, StoreConfig::default());
        let (peers, _) = named(&mut source).await;
        assert!(peers.len() <= 1);
        assert!(store.close(10 * SECOND).await);
        for entry in fs::read_dir(folder.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

#[tokio::test]
async fn records_that_are_none_are_passed_over_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (good, bad) = (PeerId::random(), PeerId::random());
    let saved = SavedPeer::new(good, vec![address(1)], unix_now(), 10 * SECOND);
    let database = Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write
            .open_table(TableDefinition::<&[u8], &[u8]>::new("peers"))
            .unwrap();
        table
            .insert(good.to_bytes().as_slice(), saved.encode().as_slice())
            .unwrap();
        table
            .insert(bad.to_bytes().as_slice(), [1, 2, 3].as_slice())
            .unwrap();
        table
            .insert([9].as_slice(), saved.encode().as_slice())
            .unwrap();
    }
    write.commit().unwrap();
    drop(database);
    let (_store, mut source) = open(&path, StoreConfig::default());
    let (peers, problems) = named(&mut source).await;
    assert_eq!(peers, [(good, vec![address(1)])]);
    let told = format!(
        "{}: 2 records of saved peers are unreadable and were ignored",
        path.display()
    );
    assert_eq!(problems, [told]);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_left_alone_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (_first, _source) = open(&path, StoreConfig::default());
    let (second, mut source) = open(&path, StoreConfig::default());
    let (_, problems) = named(&mut source).await;
    let told = format!(
        "cannot use the saved peers in {}: another process, or another store of this process, uses it",
        path.display()
    );
    assert_eq!(problems, [told]);
    assert!(path.exists());
    second.save(PeerId::random(), vec![address(1)], SECOND);
    assert!(second.close(SECOND).await, "nothing waits");
    let (_store, mut source) = open(folder.path(), StoreConfig::default());
    let (_, problems) = named(&mut source).await;
    assert!(
        problems[0].ends_with("it is not a regular file"),
        "{problems:?}"
    );
}

#[tokio::test]
async fn a_store_is_bounded_in_peers_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let config = StoreConfig::default().with_max_peers(64);
    let (store, _source) = open(&path, config.clone());
    for n in 0..1000u32 {
        let long: Multiaddr = format!(
            "/ip4/44.{}.{}.1/tcp/1/ws/http-path/{}",
            n / 100,
            n % 100,
            "x".repeat(400)
        )
        .parse()
        .unwrap();
        store.save(PeerId::random(), vec![long], SECOND * n);
        if n % 200 == 199 {
            tokio::time::sleep(3 * PAUSE).await;
        }
    }
    assert!(store.close(10 * SECOND).await);
    let database = Database::open(&path).unwrap();
    let table = TableDefinition::<&[u8], &[u8]>::new("peers");
    let table = database.begin_read().unwrap().open_table(table).unwrap();
    assert!(table.len().unwrap() <= 64, "peers without a place go");
    drop((table, database));
    let (_store, mut source) = open(&path, config);
    assert!(named(&mut source).await.0.len() <= 64);
    assert!(fs::metadata(&path).unwrap().len() < 4 << 20);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_file_is_for_its_user_only_and_no_symbolic_link_is_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (folder.path().join("peers"), folder.path().join("target"));
    let (store, _) = Store::open(&path, StoreConfig::default());
    store.close(Duration::from_secs(5)).await;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(&path, StoreConfig::default()));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "of a file that others could read");
    fs::remove_file(&path).unwrap();

    symlink(&target, &path).unwrap();
    let (_, loaded) = Store::open(&path, StoreConfig::default());
    let problem = loaded.problems[0].to_string();
    assert!(problem.contains("not a regular file"), "{problem}");
    assert!(!target.exists());
}

#[tokio::test]
async fn nine_damaged_files_leave_eight_aside_and_the_last_of_them_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    for n in 1..=9u8 {
        fs::write(&path, [n; 10]).unwrap();
        let (store, mut source) = open(&path, StoreConfig::default());
        assert_eq!(named(&mut source).await.1.len(), 1);
        assert!(store.close(10 * SECOND).await);
    }
    let entries = fs::read_dir(folder.path()).unwrap();
    assert_eq!(entries.count(), 9, "eight files aside, and the store");
    let aside = |name: &str| fs::read(folder.path().join(name)).unwrap()[0];
    assert_eq!([aside("peers.damaged"), aside("peers.damaged-2")], [1, 2]);
    assert_eq!(aside("peers.damaged-8"), 9);
}

#[tokio::test]
async fn a_file_of_more_than_32_mib_is_set_aside_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let (store, _source) = open(&path, StoreConfig::default());
    store.save(PeerId::random(), vec![address(1)], 10 * SECOND);
    assert!(store.close(10 * SECOND).await);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len((32 << 20) + 1).unwrap();
    let (_store, mut source) = open(&path, StoreConfig::default());
    let (peers, problems) = named(&mut source).await;
    assert!(peers.is_empty());
    let reason = "it has 33554433 bytes, more than any file of saved peers";
    assert!(problems[0].ends_with(reason), "{problems:?}");
}

#[tokio::test]
async fn of_a_file_with_thousands_of_records_4096_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let database = Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write
            .open_table(TableDefinition::<&[u8], &[u8]>::new("peers"))
            .unwrap();
        for n in 0..5000u32 {
            let record = n.to_be_bytes();
            table.insert(record.as_slice(), record.as_slice()).unwrap();
        }
    }
    write.commit().unwrap();
    drop(database);
    let (_store, mut source) = open(&path, StoreConfig::default());
    let (_, problems) = named(&mut source).await;
    let told = "4096 records of saved peers are unreadable and were ignored";
    assert!(problems[0].ends_with(told), "{problems:?}");
}

#[tokio::test]
async fn a_failure_of_the_writer_is_told_by_the_source_that_has_named_the_peers() {
    let (failing, failures) = mpsc::channel(1);
    let peers = vec![SavedPeer::new(
        PeerId::random(),
        vec![address(1)],
        1,
        SECOND,
    )];
    let loaded = Loaded {
        peers,
        problems: Vec::new(),
        failures,
    };
    let mut source = crate::sources::saved(loaded);
    let (peers, problems) = named(&mut source).await;
    assert_eq!((peers.len(), problems.len()), (1, 0));
    let (path, reason) = ("peers".into(), "the disk is full".to_owned());
    failing
        .send(SourceError::Store { path, reason })
        .await
        .unwrap();
    let (_, problems) = named(&mut source).await;
    let told = "cannot use the saved peers in peers: the disk is full";
    assert_eq!(problems, [told]);
}
