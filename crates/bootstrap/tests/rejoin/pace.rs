//! Many candidates whose dials fail at once, such as those of an attacker who names closed ports.

use bootstrap::{Origin, RejoinConfig};

use crate::host::{Host, MS};

/// Fails each dial at once, for so many steps of 10 ms. Returns the number of dials in each step.
fn fail(host: &mut Host, steps: usize) -> Vec<usize> {
    let step = |_| {
        let mut count = 0;
        loop {
            let dials = host.dials();
            if dials.is_empty() {
                break;
            }
            count += dials.len();
            for dial in dials {
                host.core.handle_failed(host.now, dial.attempt);
            }
        }
        host.pass(10 * MS);
        count
    };
    (0..steps).map(step).collect()
}

fn flooded(config: RejoinConfig) -> Host {
    let mut host = Host::new(config);
    for peer in 1..=500 {
        host.add(peer, &[peer], Origin::Lan);
    }
    host
}

#[test]
fn candidates_that_fail_at_once_get_64_dials_at_once_and_then_20_a_second_and_none_starves() {
    let mut host = flooded(RejoinConfig::default());
    let steps = fail(&mut host, 6000);
    assert_eq!(steps[0], 64);
    for second in 1..60 {
        let dials: usize = steps[second * 100..(second + 1) * 100].iter().sum();
        assert!(
            (19..=21).contains(&dials),
            "{dials} dials in second {second}"
        );
    }
    let views = host.core.candidates(host.now);
    let (least, most) = (
        views.iter().map(|view| view.dials).min(),
        views.iter().map(|view| view.dials).max(),
    );
    // 64 and 20 × 60 dials of 500 candidates.
    assert!(
        least >= Some(2) && most <= Some(4),
        "{least:?} to {most:?} dials"
    );
}

#[test]
fn peers_to_keep_lost_peers_and_the_user_s_dials_wait_for_no_other_candidate() {
    let mut host = flooded(RejoinConfig::default());
    host.connect(1);
    fail(&mut host, 1001);
    host.add(1000, &[1000], Origin::Kept);
    assert_eq!(host.dialed(), [Some(1000)], "a peer to keep");
    host.core.handle_user_dial(host.now, &400);
    assert_eq!(host.dialed(), [Some(400)]);
    fail(&mut host, 10);
    host.disconnect(1);
    let lost = |host: &Host| host.view(1).dials;
    let before = lost(&host);
    let begun = host.now;
    while lost(&host) == before {
        assert!(host.now < begun + 260 * MS, "a lost peer");
        fail(&mut host, 1);
    }
}
