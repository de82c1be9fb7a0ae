//! The fates of datagrams, and the ids that belong to a connection.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// The fates of 1,000 datagrams of one dial.
fn fates(faults: &Faults) -> Vec<Fate> {
    let now = Instant::now();
    let mut flows = Flows::new(3);
    let path = (([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into());
    let initial = [0xc3, 0, 0, 0, 1, 1, 8, 1, 9];
    let sent = (0..1_000).map(|_| flows.handle_sent(now, path, &initial, faults));
    sent.collect()
}

#[test]
fn each_fault_comes_as_often_as_asked_and_leaves_the_others_alone() {
    let delayed = Faults::default().with_delay(20 * MS, 10 * MS);
    let lossy = fates(&delayed.clone().with_loss(0.2));
    let all = fates(&delayed.with_loss(0.2).with_duplicate(0.3).with_reorder(0.1));
    let (mut lost, mut twice, mut early) = (0, 0, 0);
    for (lossy, all) in lossy.iter().zip(&all) {
        match (lossy, all) {
            (Fate::Lost, Fate::Lost) => lost += 1,
            (Fate::Arrives(before, None), Fate::Arrives(delay, copy)) => {
                assert!((20 * MS..30 * MS).contains(before));
                assert!(delay.is_zero() || delay == before);
                early += usize::from(delay.is_zero());
                twice += usize::from(copy.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((160..240).contains(&lost), "{lost}");
    assert!((200..280).contains(&twice), "{twice}: 0.3 of 800");
    assert!((60..100).contains(&early), "{early}: 0.1 of 800");
}

/// A datagram after the handshake whose destination is this id.
fn short(id: u64) -> Vec<u8> {
    let id = id.to_be_bytes();
    [&[0x40][..], &id, &[0; 20]].concat()
}

#[test]
fn a_datagram_waits_up_to_200_ms_for_the_bandwidth_and_is_then_lost() {
    let now = Instant::now();
    let mut flows = Flows::new(3);
    let path = (([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 2).into());
    // Each datagram of 29 bytes takes 100 ms.
    let slow = Faults::default().with_bandwidth(290);
    let mut sent = || flows.handle_sent(now, path, &short(1), &slow);
    for expected in [100, 200, 300] {
        let Fate::Arrives(delay, None) = sent() else {
            panic!("lost");
        };
        assert_eq!(delay.as_millis(), expected);
    }
    assert_eq!(sent(), Fate::Lost, "the queue is 300 ms long");
    let later = now + 100 * MS;
    let fate = flows.handle_sent(later, path, &short(1), &slow);
    assert!(matches!(fate, Fate::Arrives(..)), "{fate:?}");
}

#[test]
fn a_connection_learns_32_ids_of_8_bytes_and_is_found_by_them_on_another_path() {
    let (now, faults) = (Instant::now(), Faults::default());
    let mut flows = Flows::new(3);
    let at = |host| ([192, 0, 2, host], 1).into();
    for id in 1..=40 {
        flows.handle_sent(now, (at(1), at(2)), &short(id), &faults);
    }
    assert_eq!(flows.ids.len(), 32);
    assert!(flows.ids.keys().all(|id| id.len() == 8));
    assert_eq!(flows.flows.len(), 1);
    // The dialer has moved to another address.
    flows.handle_sent(now, (at(3), at(2)), &short(32), &faults);
    assert_eq!(flows.flows.len(), 1);
    flows.handle_sent(now, (at(3), at(2)), &short(33), &faults);
    assert_eq!(flows.flows.len(), 2, "the id was not learned");
}

#[test]
fn a_range_is_used_from_its_first_to_its_last_number() {
    assert_eq!(
        [0.0, 0.5, 0.999].map(|share| within(&(3..=5), share)),
        [3, 4, 5]
    );
    #[allow(clippy::reversed_empty_ranges)]
    let empty = within(&(5..=3), 0.9);
    assert_eq!(empty, 5);
}
