use tokio::time::{Instant, sleep};

use super::*;

async fn after(millis: u64, answer: Result<Vec<u8>, u8>) -> Result<Vec<u8>, u8> {
    sleep(Duration::from_millis(millis)).await;
    answer
}

#[test]
fn a_name_has_at_most_16_addresses_and_no_family_crowds_out_the_other() {
    for (six, four, left) in [
        (0, 17, (0, 16)),
        (17, 0, (16, 0)),
        (16, 1, (15, 1)),
        (1, 16, (1, 15)),
        (9, 9, (8, 8)),
        (8, 8, (8, 8)),
        (3, 2, (3, 2)),
    ] {
        let six = (0..six).map(|n| IpAddr::from([0, 0, 0, 0, 0, 0, 0, n]));
        let four = (0..four).map(|n| IpAddr::from([127, 0, 0, n]));
        let short = shorten(six.chain(four).collect());
        let kept = short.iter().filter(|ip| ip.is_ipv6()).count();
        assert_eq!((kept, short.len() - kept), left);
    }
}

#[tokio::test(start_paused = true)]
async fn the_slower_family_has_50_ms_once_the_other_has_answered() {
    let (one, two) = (Ok(vec![1]), Ok(vec![2]));
    for (first, second, expected, took) in [
        (
            after(0, one.clone()),
            after(49, two.clone()),
            Ok(vec![1, 2]),
            49,
        ),
        (
            after(49, one.clone()),
            after(0, two.clone()),
            Ok(vec![1, 2]),
            49,
        ),
        (
            after(0, one.clone()),
            after(60, two.clone()),
            Ok(vec![1]),
            50,
        ),
        (
            after(60, one.clone()),
            after(0, two.clone()),
            Ok(vec![2]),
            50,
        ),
        (after(0, Err(1)), after(900, two.clone()), Ok(vec![2]), 900),
        (after(900, one.clone()), after(0, Err(2)), Ok(vec![1]), 900),
        (after(900, Err(1)), after(0, Err(2)), Err(1), 900),
    ] {
        let begun = Instant::now();
        assert_eq!(either(first, second).await, expected);
        let elapsed = begun.elapsed().as_millis();
        assert!(
            (took..took + 2).contains(&elapsed),
            "{elapsed} ms, not {took}"
        );
    }
}
