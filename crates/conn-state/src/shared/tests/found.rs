//! Schedules by which a handle that was broken on purpose was found out. Each names what it had wrong.

use super::{
    acting, dropping, lagging, replacing, schedule::replay, subscribing,
    subscribing_with_a_short_history, waiting,
};

#[test]
fn who_comes_while_a_snapshot_is_taken_is_in_it_though_its_slot_was_read() {
    replay(
        subscribing,
        "0000000000000000000000001000010001100100011111111111111111111100000",
    );
}

#[test]
fn who_leaves_while_a_snapshot_is_taken_is_not_in_it_though_its_slot_was_read() {
    replay(
        subscribing,
        "00000000000000000000000101111110001111111100111000110010011111111100000000000000000",
    );
}

#[test]
fn what_comes_about_just_after_a_snapshot_is_told_after_it() {
    replay(
        subscribing,
        "0000000000000000000000000110010101101100011000110110010011111111111111100000",
    );
}

#[test]
fn a_snapshot_that_lost_events_that_it_needs_is_not_given() {
    replay(
        subscribing_with_a_short_history,
        "00000000000000000000000000000000010010010110110011111100101111110110010111010000000000000000",
    );
}

#[test]
fn what_comes_about_while_a_lag_is_made_good_is_counted_as_missed() {
    replay(
        lagging,
        "00000000001010011011110111001001001101001100100000110101111111111111111100000000000000000",
    );
}

#[test]
fn news_between_a_readers_last_look_and_its_wait_wake_it() {
    replay(
        waiting,
        "0000000000111110000000000000000000002222222222222222222221111",
    );
}

#[test]
fn news_between_an_actors_last_look_and_its_wait_wake_it() {
    replay(acting, "001111102222222220000000000001111");
}

#[test]
fn a_waker_that_is_woken_may_drop_what_takes_the_lock() {
    replay(dropping, "00000000000000000000001111");
}

#[test]
fn a_waker_that_is_replaced_may_drop_what_takes_the_lock() {
    replay(replacing, "000000000000000000000000010");
}
