use proptest::prelude::*;

use super::{
    super::{
        key::Key,
        message::{MAX_KEY, MAX_VALUE, PeerInfo},
        place::{Place, Preset, Subnet},
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

fn subnet(number: u8) -> Option<Subnet> {
    Preset::Amino.subnet(Some(Place::Ip([8, number, 1, 1].into())))
}

#[test]
fn a_value_is_kept_for_48_hours_or_for_its_own_time_if_that_is_shorter() {
    let (mut values, now) = (values(20), Instant::now());
    values.put(now, &1, record("k", b"v"), &names()).unwrap();
    let mut brief = record("brief", b"v");
    brief.ttl = Some(HOUR);
    values.put(now, &1, brief, &names()).unwrap();
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
fn a_value_that_is_too_long_invalid_or_worse_is_refused() {
    let (mut values, now) = (values(100), Instant::now());
    let mut put = |record| values.put(now, &1, record, &names());
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
    let mut add =
        |peer, net| providers.add(now, b"key", PeerInfo::new(peer, vec![()]), subnet(net));
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
    assert_eq!((providers.len(), providers.senders.len()), (0, 0));
    assert_eq!(
        providers.add(now, &[1; 81], PeerInfo::new(1, vec![()]), None),
        Err(Refusal::Length)
    );
    assert_eq!(
        providers.add(now, &[1; 80], PeerInfo::new(1, vec![()]), None),
        Ok(())
    );
}

#[test]
fn what_is_published_is_due_every_22_hours_and_bounded() {
    let (mut published, now) = (Published::default(), Instant::now());
    assert!(published.insert(Publication::Provider(b"p".to_vec()), now + HOUR, 2));
    assert!(published.insert(Publication::Value(record("k", b"v")), now + 2 * HOUR, 2));
    assert!(!published.insert(Publication::Provider(b"q".to_vec()), now, 2));
    assert_eq!(published.next(), Some(now + HOUR));
    assert_eq!(published.due(now, 22 * HOUR), None);
    assert_eq!(
        published.due(now + HOUR, 22 * HOUR),
        Some(Publication::Provider(b"p".to_vec()))
    );
    assert_eq!(published.next(), Some(now + 2 * HOUR));
    assert!(published.provides(b"p") && !published.provides(b"/a/k"));
    assert!(published.remove(b"/a/k") && !published.remove(b"/a/k"));
    assert_eq!(published.next(), Some(now + 23 * HOUR));
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
                    let _ = providers.add(now, &key.key, PeerInfo::new(peer, vec![()]), subnet(net));
                    let _ = values.put(now, &peer, key, &names());
                }
            }
            prop_assert!(values.len() <= most && providers.len() <= most);
            prop_assert!(values.senders.values().all(|count| *count <= share(most)));
            prop_assert!(providers.senders.values().all(|count| *count <= share(most)));
            prop_assert_eq!(values.senders.values().sum::<usize>(), values.len());
            prop_assert_eq!(providers.senders.values().sum::<usize>(), providers.len());
            prop_assert_eq!(providers.keys.values().map(Vec::len).sum::<usize>(), providers.len());
        }
    }
}
