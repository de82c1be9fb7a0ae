use super::*;

/// Streams that exist, each with frames of these lengths, which yamux has.
fn holding(streams: &[(u32, &[usize])]) -> Unread {
    let unread = Unread::default();
    for (id, frames) in streams {
        unread.open(*id);
        for length in *frames {
            assert!(matches!(unread.frame(*id, *length), Ok(Fate::Pass)));
        }
    }
    unread
}

#[test]
fn a_frame_is_given_back_once_all_of_it_is_read_and_not_before() {
    for (reads, given_back) in [
        (vec![10, 20], vec![Some(0), Some(0)]),
        (vec![5, 5, 19, 1], vec![None, Some(0), None, Some(0)]),
        // One read ends in the second frame.
        (vec![15, 15], vec![None, Some(0)]),
        (vec![30], vec![Some(0)]),
    ] {
        let unread = holding(&[(1, &[10, 20])]);
        let rests: Vec<_> = reads.iter().map(|n| unread.read(1, *n).rest).collect();
        assert_eq!(rests, given_back, "{reads:?}");
        assert!(!unread.forget(1), "everything is read");
    }
}

#[test]
fn a_stream_that_is_dropped_with_unread_bytes_must_be_emptied() {
    for (read, holds) in [(0, true), (29, true), (30, false)] {
        let unread = holding(&[(1, &[10, 20])]);
        unread.read(1, read);
        assert!(unread.has(1));
        assert_eq!(unread.forget(1), holds, "{read}");
        assert!(!unread.has(1) && !unread.forget(1));
    }
}

#[test]
fn beyond_the_bound_the_rest_of_a_frame_is_taken_out_if_more_of_it_is_read_than_left() {
    // Four long frames of which one byte is left, which together are 4 bytes below the bound.
    let long = PIECE - 1;
    assert_eq!(SPENT - 4 * long, 4);
    let long_streams = || {
        let streams = [1, 3, 5, 7, 9, 11].map(|id| (id, if id < 9 { PIECE } else { 6 }));
        let unread = Unread::default();
        for (id, length) in streams {
            unread.open(id);
            assert!(matches!(unread.frame(id, length), Ok(Fate::Pass)));
        }
        for id in [1, 3, 5, 7] {
            // In two steps: each byte counts once.
            assert_eq!(unread.read(id, 20_000).rest, None);
            assert_eq!(unread.read(id, long - 20_000).rest, None);
        }
        unread
    };
    let unread = long_streams();
    assert_eq!(unread.read(9, 4).rest, None, "the bound itself");
    assert_eq!(unread.read(11, 3).rest, None, "as much is left as is read");
    assert_eq!(unread.read(11, 1).rest, Some(2));
    // A stream that is dropped counts no longer.
    let unread = long_streams();
    unread.forget(1);
    assert_eq!(unread.read(9, 4).rest, None);
    assert_eq!(unread.read(11, 4).rest, None);
    // Nor does a frame that was read.
    let unread = long_streams();
    assert_eq!(unread.read(1, 1).rest, Some(0));
    assert_eq!(unread.read(9, 4).rest, None);
    assert_eq!(unread.read(11, 4).rest, None);
}

#[test]
fn frames_are_passed_on_if_they_are_few_or_large_on_average() {
    for (small, next, fate) in [
        (1, 100, Fate::Join),
        (100, 100, Fate::Join),
        (1, LARGE - FEW - 1, Fate::Join),
        (1, LARGE - FEW, Fate::Pass),
        (100, LARGE - 100 * FEW, Fate::Pass),
        // Two pieces count as two frames.
        (1, PIECE + 1, Fate::Pass),
    ] {
        let unread = holding(&[(1, &[small; FEW])]);
        let got = unread.frame(1, next);
        assert!(
            matches!(got, Ok(it) if it == fate),
            "{small}, {next}: {got:?}"
        );
    }
}

#[test]
fn after_what_is_joined_nothing_is_passed_on_before_it() {
    let unread = holding(&[(1, &[1; FEW])]);
    assert!(matches!(unread.frame(1, 2), Ok(Fate::Join)));
    unread.join(1, b"ab");
    assert!(unread.next_due().is_none(), "yamux has enough");
    // A large frame waits behind it.
    assert!(matches!(unread.frame(1, LARGE), Ok(Fate::Join)));
    let read = unread.read(1, 1);
    assert!(read.is_due);
    assert!(!unread.read(1, 1).is_due, "it is told once");
    let due = unread.next_due();
    assert_eq!(due, Some((1, b"ab"[..].into())));
    assert!(unread.next_due().is_none());
}

#[test]
fn at_the_end_of_the_connection_yamux_gets_all_that_waits_and_then_nothing() {
    let unread = holding(&[(1, &[1; FEW]), (3, &[1])]);
    assert!(!unread.end_all(), "nothing waits");
    assert!(matches!(unread.frame(1, 2), Ok(Fate::Join)));
    unread.join(1, b"ab");
    assert!(unread.end_all());
    assert_eq!(unread.next_due(), Some((1, b"ab"[..].into())));
    assert!(unread.next_due().is_none());
    unread.finish();
    assert!(!unread.has(1) && !unread.has(3));
    unread.open(5);
    assert!(!unread.has(5), "no stream begins after the end");
}
