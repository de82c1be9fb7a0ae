use proptest::prelude::*;

use super::{
    super::place::{Place, Preset},
    *,
};

const AGE: Duration = Duration::from_secs(600);

fn key(peer: u32) -> Key {
    Key::of(peer.to_be_bytes())
}

fn local() -> Key {
    Key::of("local")
}

fn subnet(number: u8) -> Option<Subnet> {
    Preset::Amino.subnet(Some(Place::Ip([8, number, 1, 1].into())))
}

fn answer(table: &mut Table<u32, ()>, peer: u32, subnet: Option<Subnet>) -> Changed<u32> {
    table.answered(
        Instant::now(),
        key(peer),
        PeerInfo::new(peer, vec![()]),
        subnet,
    )
}

/// Peers of one bucket.
fn in_bucket(index: u32) -> impl Iterator<Item = u32> {
    (0..).filter(move |peer| local().shared_bits(&key(*peer)) == index)
}

#[test]
fn a_full_bucket_keeps_its_entries_and_a_spare_replaces_the_first_that_fails() {
    let mut table = Table::new(local(), 4);
    let peers: Vec<u32> = in_bucket(1).take(7).collect();
    for peer in &peers {
        answer(&mut table, *peer, None);
    }
    assert_eq!(table.len(), 4);
    assert!(table.get(&key(peers[3])).is_some() && table.get(&key(peers[4])).is_none());
    let changed = table.failed(&key(peers[1]));
    assert_eq!(
        changed,
        Changed {
            entered: Some(peers[6]),
            left: Some(peers[1])
        }
    );
    assert_eq!(table.len(), 4);
}

#[test]
fn an_entry_without_a_spare_is_told_to_nobody_and_leaves_after_three_failures() {
    let mut table = Table::new(local(), 4);
    answer(&mut table, 1, None);
    for _ in 0..2 {
        table.failed(&key(1));
        assert!(table.get(&key(1)).unwrap().is_failing());
    }
    assert_eq!(table.failed(&key(1)).left, Some(1));
    assert_eq!(table.len(), 0);
    answer(&mut table, 1, None);
    table.failed(&key(1));
    answer(&mut table, 1, None);
    assert!(!table.get(&key(1)).unwrap().is_failing());
}

#[test]
fn a_failing_entry_makes_room_for_a_newcomer() {
    let mut table = Table::new(local(), 2);
    let peers: Vec<u32> = in_bucket(0).take(3).collect();
    answer(&mut table, peers[0], None);
    answer(&mut table, peers[1], None);
    assert!(table.wants(&key(peers[2])), "there is room for a spare");
    table.failed(&key(peers[0]));
    let changed = answer(&mut table, peers[2], None);
    assert_eq!(
        changed,
        Changed {
            entered: Some(peers[2]),
            left: Some(peers[0])
        }
    );
}

#[test]
fn one_subnet_has_two_entries_per_bucket_and_three_per_table() {
    let mut table = Table::new(local(), 20);
    for peer in in_bucket(0).take(3) {
        answer(&mut table, peer, subnet(1));
    }
    assert_eq!(table.len(), 2);
    for peer in in_bucket(1).take(3) {
        answer(&mut table, peer, subnet(1));
    }
    assert_eq!(table.len(), 3);
    answer(&mut table, in_bucket(2).next().unwrap(), subnet(2));
    assert_eq!(table.len(), 4);
}

#[test]
fn a_peer_that_moves_into_a_full_subnet_leaves_the_table() {
    let mut table = Table::new(local(), 20);
    let peers: Vec<u32> = in_bucket(0).take(3).collect();
    answer(&mut table, peers[0], subnet(1));
    answer(&mut table, peers[1], subnet(1));
    answer(&mut table, peers[2], subnet(2));
    assert_eq!(answer(&mut table, peers[2], subnet(1)).left, Some(peers[2]));
    assert_eq!(table.len(), 2);
}

#[test]
fn this_node_itself_never_enters() {
    let mut table = Table::new(key(1), 20);
    assert!(!table.wants(&key(1)));
    answer(&mut table, 1, None);
    assert_eq!(table.len(), 0);
}

#[test]
fn the_quietest_entry_is_the_one_that_answered_longest_ago() {
    let (mut table, now) = (Table::new(local(), 20), Instant::now());
    for (peer, after) in [(1, 5), (2, 1), (3, 9)] {
        let at = now + Duration::from_secs(after);
        table.answered(at, key(peer), PeerInfo::new(peer, vec![()]), None);
    }
    let quietest = |table: &Table<u32, ()>, seconds| {
        let quietest = table.quietest(now + Duration::from_secs(seconds), AGE, |_| false);
        quietest.map(|entry| entry.info.id)
    };
    assert_eq!(quietest(&table, 600), None);
    assert_eq!(quietest(&table, 601), Some(2));
    table.failed(&key(3));
    assert_eq!(quietest(&table, 10), Some(3));
}

#[cfg(feature = "libp2p")]
#[test]
fn an_entry_of_the_table_takes_as_many_bytes_as_the_readme_says() {
    assert_eq!(
        size_of::<Entry<libp2p_identity::PeerId, multiaddr::Multiaddr>>(),
        176
    );
}

proptest! {
    #[test]
    fn no_subnet_and_no_bucket_exceeds_its_cap_and_the_nearest_are_found(
        steps in prop::collection::vec((0u32..400, 0u8..12, 0u8..4), 0..600), target: u32, count in 1usize..30,
    ) {
        let mut table = Table::new(local(), 5);
        for (peer, net, kind) in steps {
            match kind {
                0 => { table.failed(&key(peer)); }
                _ => { answer(&mut table, peer, (net > 0).then(|| subnet(net)).flatten()); }
            }
            let mut subnets = BTreeMap::new();
            for (index, bucket) in &table.buckets {
                prop_assert!(bucket.entries.len() <= 5 && bucket.spares.len() <= SPARES);
                for entry in &bucket.entries {
                    prop_assert_eq!(local().shared_bits(&entry.key), *index);
                    let Some(subnet) = entry.subnet else { continue };
                    *subnets.entry(subnet).or_insert(0usize) += 1;
                    let same = bucket.entries.iter().filter(|other| other.subnet == Some(subnet));
                    prop_assert!(same.count() <= MAX_PER_BUCKET);
                }
            }
            prop_assert!(subnets.values().all(|count| *count <= MAX_PER_TABLE));
            prop_assert_eq!(&subnets, &table.subnets);
            prop_assert_eq!(table.iter().count(), table.len());
        }
        let target = Key::of(target.to_le_bytes());
        let mut all: Vec<_> = table.iter().map(|entry| (entry.key.distance(&target), entry.info.id)).collect();
        all.sort_unstable();
        let found: Vec<_> = table.closest(&target, count, |_| true).iter().map(|entry| entry.info.id).collect();
        prop_assert_eq!(found, all.into_iter().take(count).map(|(_, id)| id).collect::<Vec<_>>());
    }
}
