use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{
    super::{
        key::Key,
        message::{MAX_KEY, MAX_VALUE, PeerInfo, Record},
        place::{Place, Preset, Site},
        validate::{Namespaces, Validator},
    },
    *,
};

const HOUR: Duration = Duration::from_secs(3600);

fn names() -> Namespaces {
    Namespaces::new().with("a", Validator::new(|_, value| value != b"bad"))
}

fn record(key: &str, value: &[u8]) -> Record {
    Record::new(format!("/a/{key}").into_bytes(), value.to_vec())
}

fn values(most: usize) -> Values<u32> {
    Values::new(Key::of("local"), most, 48 * HOUR)
}

fn site(number: u8) -> Site {
    Preset::Amino.site(Some(Place::Ip([8, number, 1, 1].into())))
}

/// Keys, the one nearest to this node first.
fn keys(count: u32) -> Vec<String> {
    let mut keys: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    keys.sort_by_key(|key| Key::of(record(key, b"").key).distance(&Key::of("local")));
    keys
}

#[test]
fn a_value_is_kept_for_48_hours_or_for_its_own_time_if_that_is_shorter() {
    let (mut values, now) = (values(20), Instant::now());
    values
        .put(now, &1, site(1), record("k", b"v"), &names())
        .unwrap();
    let mut brief = record("brief", b"v");
    brief.ttl = Some(HOUR);
    values.put(now, &1, site(1), brief, &names()).unwrap();
    let get = |values: &Values<u32>, key: &str, after| {
        values.get(now + after, format!("/a/{key}").as_bytes())
    };
    assert_eq!(get(&values, "brief", HOUR / 2).unwrap().ttl, Some(HOUR / 2));
    assert_eq!(get(&values, "brief", HOUR), None);
    assert!(get(&values, "k", 47 * HOUR).is_some());
    assert_eq!(get(&values, "k", 48 * HOUR), None);
    values.expire(now + HOUR);
    assert_eq!(values.len(), 1);
    values.expire(now + 48 * HOUR);
    assert_eq!(values.len(), 0);
}

#[test]
fn no_value_is_kept_for_more_than_48_hours_whatever_its_sender_says() {
    let (mut values, now) = (values(20), Instant::now());
    let mut long = record("k", b"v");
    long.ttl = Some(1000 * HOUR);
    values.put(now, &1, site(1), long, &names()).unwrap();
    let kept = values.get(now + HOUR, b"/a/k").unwrap();
    assert_eq!(kept.ttl, Some(47 * HOUR));
    assert_eq!(values.get(now + 48 * HOUR, b"/a/k"), None);
}

#[test]
fn a_value_that_is_too_long_invalid_or_worse_is_refused() {
    let (mut values, now) = (values(100), Instant::now());
    let mut put = |record| values.put(now, &1, site(1), record, &names());
    assert_eq!(
        put(record("k", &vec![1; MAX_VALUE + 1])),
        Err(Refusal::Length)
    );
    assert_eq!(put(record("k", &vec![1; MAX_VALUE])), Ok(()));
    assert_eq!(
        put(record(&"k".repeat(MAX_KEY - 2), b"v")),
        Err(Refusal::Length)
    );
    assert_eq!(put(record(&"k".repeat(MAX_KEY - 3), b"v")), Ok(()));
    assert_eq!(put(record("b", b"bad")), Err(Refusal::Invalid));
    assert_eq!(
        put(Record::new(b"/b/k".to_vec(), b"v".to_vec())),
        Err(Refusal::Invalid)
    );
    assert_eq!(put(record("s", b"2")), Ok(()));
    assert_eq!(put(record("s", b"1")), Err(Refusal::Worse));
    assert_eq!(put(record("s", b"2")), Ok(()));
    assert_eq!(put(record("s", b"3")), Ok(()));
}

#[test]
fn one_sender_has_at_most_an_eighth_of_the_values() {
    let (mut values, now) = (values(16), Instant::now());
    for sender in 0..8 {
        for key in 0..3 {
            let put = values.put(
                now,
                &sender,
                site(1),
                record(&format!("{sender}{key}"), b"v"),
                &names(),
            );
            assert_eq!(put.is_ok(), key < 2);
        }
    }
    assert_eq!(values.len(), 16);
}

#[test]
fn providers_expire_and_one_subnet_has_eight_places_per_key() {
    let now = Instant::now();
    let mut providers = Providers::<u32, ()>::new(Key::of("local"), 1000, 48 * HOUR);
    let mut add = |peer, net| providers.add(now, b"key", PeerInfo::new(peer, vec![()]), site(net));
    for peer in 0..8 {
        assert_eq!(add(peer, 1), Ok(()));
    }
    assert_eq!(add(8, 1), Err(Refusal::Full));
    assert_eq!(add(3, 1), Ok(()), "a provider renews its record");
    assert_eq!(add(9, 2), Ok(()));
    assert_eq!(providers.get(now, b"key", 20, 5).len(), 9);
    assert_eq!(providers.get(now, b"key", 4, u64::MAX).len(), 4);
    assert_eq!(providers.get(now + 48 * HOUR, b"key", 20, 0).len(), 0);
    providers.expire(now + 48 * HOUR);
    assert_eq!((providers.len(), providers.shares.senders.len()), (0, 0));
    assert_eq!(
        providers.add(now, &[1; 81], PeerInfo::new(1, vec![()]), site(1)),
        Err(Refusal::Length)
    );
    assert_eq!(
        providers.add(now, &[1; 80], PeerInfo::new(1, vec![()]), site(1)),
        Ok(())
    );
}

#[test]
fn a_provider_that_renews_its_record_is_kept_for_48_hours_more_at_its_new_address() {
    let now = Instant::now();
    let mut providers = Providers::<u32, u8>::new(Key::of("local"), 1000, 48 * HOUR);
    for (after, address) in [(Duration::ZERO, 1), (22 * HOUR, 2)] {
        let info = PeerInfo::new(7, vec![address]);
        assert_eq!(providers.add(now + after, b"key", info, site(1)), Ok(()));
    }
    providers.expire(now + 69 * HOUR);
    let known = providers.get(now + 69 * HOUR, b"key", 20, 0);
    assert_eq!(known, [PeerInfo::new(7, vec![2])]);
    assert_eq!(providers.get(now + 70 * HOUR, b"key", 20, 0), []);
}

#[test]
fn the_same_value_with_a_short_time_to_live_shortens_no_life() {
    let (mut values, now) = (values(20), Instant::now());
    values
        .put(now, &1, site(1), record("k", b"v"), &names())
        .unwrap();
    let mut brief = record("k", b"v");
    brief.ttl = Some(Duration::from_secs(1));
    assert_eq!(values.put(now, &2, site(2), brief, &names()), Ok(()));
    let kept = values.get(now + 47 * HOUR, b"/a/k");
    assert_eq!(kept, Some(record("k", b"v")));
    // The value remains the entry of its first sender, and its publisher can still prolong it.
    assert_eq!(values.shares.of_sender(&2), 0);
    values
        .put(now + HOUR, &1, site(1), record("k", b"v"), &names())
        .unwrap();
    assert!(values.get(now + 48 * HOUR, b"/a/k").is_some());
}

#[test]
fn any_number_of_ids_in_one_subnet_leave_room_for_the_values_and_providers_of_others() {
    let now = Instant::now();
    let mut values = values(16);
    let mut providers = Providers::<u32, ()>::new(Key::of("local"), 16, 48 * HOUR);
    let keys = keys(40);
    // The attacker has the keys that are nearest to this node.
    for (number, key) in keys[..20].iter().enumerate() {
        let sender = u32::try_from(number / 2).unwrap();
        let record = record(key, b"v");
        let info = PeerInfo::new(sender, vec![()]);
        let _ = providers.add(now, &record.key, info, site(1));
        let _ = values.put(now, &sender, site(1), record, &names());
    }
    assert_eq!((values.len(), providers.len()), (16, 16));
    for (number, key) in keys[30..38].iter().enumerate() {
        let sender = 100 + u32::try_from(number).unwrap();
        let record = record(key, b"v");
        let info = PeerInfo::new(sender, vec![()]);
        assert_eq!(providers.add(now, &record.key, info, site(2)), Ok(()));
        assert_eq!(values.put(now, &sender, site(2), record, &names()), Ok(()));
    }
    // Both subnets have half of the places. From then on, only a nearer key displaces an entry.
    let add = |values: &mut super::Values<u32>, key: &str, net| {
        values.put(now, &200, site(net), record(key, b"v"), &names())
    };
    assert_eq!(add(&mut values, &keys[39], 2), Err(Refusal::Full));
    assert_eq!(add(&mut values, &keys[29], 2), Ok(()));
    let kept = |key: &String| values.get(now, &record(key, b"").key).is_some();
    assert!(
        keys[..8].iter().all(kept),
        "the nearest ones of the attacker are kept"
    );
    assert!(keys[30..37].iter().all(kept) && !kept(&keys[37]));
}

#[test]
fn providers_of_many_subnets_do_not_flush_the_provider_of_another_one() {
    let now = Instant::now();
    let later = |seconds: u32| now + Duration::from_secs(seconds.into());
    let mut providers = Providers::<u32, ()>::new(Key::of("local"), 1000, 48 * HOUR);
    let mut add = |peer: u32, net| {
        let info = PeerInfo::new(peer, vec![()]);
        providers.add(later(peer), b"key", info, site(net))
    };
    assert_eq!(add(0, 100), Ok(()));
    for peer in 1..200 {
        let _ = add(peer, u8::try_from(peer % 10).unwrap());
    }
    let known = providers.get(later(200), b"key", 64, 0);
    assert_eq!(known.len(), 64);
    assert!(known.iter().any(|info| info.id == 0));
}

fn provider(key: &[u8]) -> Publication {
    Publication::Provider(key.to_vec())
}

#[test]
fn what_is_published_is_due_every_22_hours_and_bounded() {
    let (mut published, now) = (Published::default(), Instant::now());
    let value = Publication::Value(record("k", b"v"));
    assert!(published.insert(now, provider(b"p"), HOUR, 2));
    assert!(published.insert(now, value, 2 * HOUR, 2));
    assert!(!published.insert(now, provider(b"q"), HOUR, 2));
    assert_eq!(
        (published.len(), published.next(true)),
        (2, Some(now + HOUR))
    );
    assert_eq!(published.due(now, 22 * HOUR, true), None);
    let due = published.due(now + HOUR, 22 * HOUR, true);
    assert_eq!(due, Some(provider(b"p")));
    assert_eq!(published.next(true), Some(now + 2 * HOUR));
    assert!(published.provides(b"p") && !published.provides(b"/a/k"));
    assert!(published.remove(b"/a/k") && !published.remove(b"/a/k"));
    assert_eq!(published.next(true), Some(now + 23 * HOUR));
}

#[test]
fn a_failed_publication_is_due_again_soon_and_then_ever_later() {
    let (mut published, start) = (Published::default(), Instant::now());
    let (interval, pauses) = (22 * HOUR, (HOUR / 6, 22 * HOUR));
    assert!(published.insert(start, provider(b"p"), interval, 1));
    let (mut now, mut waits) = (start, Vec::new());
    for _ in 0..9 {
        published.attempted(now, &provider(b"p"), false, pauses);
        let next = published.next(true).unwrap();
        waits.push((next - now).as_secs() / 600);
        now = next;
        assert!(published.due(now, interval, true).is_some());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 132]);
    published.attempted(now, &provider(b"p"), true, pauses);
    assert_eq!(published.next(true), Some(now + interval));
    published.attempted(now, &provider(b"p"), false, pauses);
    assert_eq!(published.next(true), Some(now + HOUR / 6));
    published.attempted(now, &provider(b"other"), false, pauses);
    assert_eq!(published.len(), 1);
}

#[test]
fn provider_records_wait_for_an_address_and_are_due_when_it_changes() {
    let (mut published, now) = (Published::default(), Instant::now());
    let value = Publication::Value(record("k", b"v"));
    assert!(published.insert(now, provider(b"p"), HOUR, 2));
    assert!(published.insert(now, value.clone(), 2 * HOUR, 2));
    let later = now + 3 * HOUR;
    assert_eq!(published.next(false), Some(now + 2 * HOUR));
    assert_eq!(published.due(later, 22 * HOUR, false), Some(value));
    assert_eq!(published.due(later, 22 * HOUR, false), None);
    assert_eq!(published.due(later, 22 * HOUR, true), Some(provider(b"p")));
    published.readdress(later, HOUR);
    assert_eq!(
        published.next(true),
        Some(later + HOUR),
        "not at once again"
    );
    published.readdress(later + 5 * HOUR, HOUR);
    published.readdress(later + 6 * HOUR, HOUR);
    assert_eq!(published.next(true), Some(later + HOUR));
}

proptest! {
    #[test]
    fn no_store_exceeds_its_bounds_and_the_counts_are_right(
        steps in prop::collection::vec((0u32..6, 0u32..40, 0u8..4, 0u64..100), 0..300), most in 1usize..20,
    ) {
        let (start, mut values) = (Instant::now(), values(most));
        let mut providers = Providers::<u32, ()>::new(Key::of("local"), most, 48 * HOUR);
        for (peer, key, net, hours) in steps {
            let now = start + HOUR * u32::try_from(hours).unwrap();
            match net {
                0 => { values.expire(now); providers.expire(now); }
                _ => {
                    let key = record(&key.to_string(), &[net]);
                    let _ = providers.add(now, &key.key, PeerInfo::new(peer, vec![()]), site(net));
                    let _ = values.put(now, &peer, site(net), key, &names());
                }
            }
            prop_assert!(values.len() <= most && providers.len() <= most);
            for (shares, len) in [(&values.shares, values.len()), (&providers.shares, providers.len())] {
                prop_assert!(shares.senders.values().all(|count| *count <= share(most)));
                prop_assert_eq!(shares.senders.values().sum::<usize>(), len);
                prop_assert_eq!(shares.sizes.iter().map(|(count, _)| count).sum::<usize>(), len);
            }
            prop_assert_eq!(providers.keys.values().map(Vec::len).sum::<usize>(), providers.len());
        }
    }
}
