//! Timers in a hierarchical wheel (Varghese and Lauck 1987). Setting and cancelling a timer and finding the next one
//! take a time that does not depend on the number of timers.

use super::slab::{NONE, Slab};

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    Slot(u32),
    Circuit(u32),
    Bucket(u32),
}

/// 64 places a level, each as wide as the whole level below.
const BITS: u32 = 6;
const PLACES: usize = 1 << BITS;
const LEVELS: usize = 7;

/// 139 years of milliseconds.
const LAST: u64 = (1 << (BITS * LEVELS as u32)) - 1;

#[derive(Debug)]
struct Node {
    due: u64,
    next: u32,
    previous: u32,
    timer: Timer,
}

#[derive(Debug)]
pub(super) struct Wheel {
    nodes: Slab<Node>,
    /// The first node of each place.
    first: Box<[[u32; PLACES]; LEVELS]>,
    /// Which places have a node.
    occupied: [u64; LEVELS],
    /// All that was due before this is out.
    now: u64,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            nodes: Slab::default(),
            first: Box::new([[NONE; PLACES]; LEVELS]),
            occupied: [0; LEVELS],
            now: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Without the places, of which there are always the same.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.bytes()
    }

    /// Sets a timer and gives it a number, which is good until it is out or cancelled.
    pub(super) fn set(&mut self, due: u64, timer: Timer) -> u32 {
        let at = self.nodes.insert(Node {
            due: due.clamp(self.now, LAST),
            next: NONE,
            previous: NONE,
            timer,
        });
        self.link(at);
        at
    }

    /// When a timer is due.
    pub(super) fn due(&self, at: u32) -> u64 {
        self.nodes[at].due
    }

    pub(super) fn cancel(&mut self, at: u32) {
        if self.nodes.get(at).is_some() {
            self.unlink(at);
            self.nodes.remove(at);
        }
    }

    /// The next timer that is due at `now`.
    pub(super) fn pop(&mut self, now: u64) -> Option<Timer> {
        while let Some((level, place, begins)) = self.next_place().filter(|next| next.2 <= now) {
            self.now = self.now.max(begins);
            let at = self.first[level][place];
            if level == 0 {
                self.unlink(at);
                return self.nodes.remove(at).map(|node| node.timer);
            }
            self.spread(level, place);
        }
        self.now = self.now.max(now.min(LAST));
        None
    }

    /// When to look again: no later than the next timer is due.
    pub(super) fn next(&self) -> Option<u64> {
        self.next_place().map(|(_, _, begins)| begins)
    }

    /// The first place with a node. Those of a lower level are all before those of a higher one, because a node lies as
    /// high as the highest digit in which its time differs from now.
    fn next_place(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|places| *places != 0)?;
        let place = self.occupied[level].trailing_zeros();
        let shift = BITS * level as u32;
        let above = self.now >> shift >> BITS << BITS << shift;
        Some((level, place as usize, above | u64::from(place) << shift))
    }

    /// Moves the nodes of a place whose time has begun to the levels below.
    fn spread(&mut self, level: usize, place: usize) {
        let mut at = std::mem::replace(&mut self.first[level][place], NONE);
        self.occupied[level] &= !(1 << place);
        while at != NONE {
            let next = self.nodes[at].next;
            self.link(at);
            at = next;
        }
    }

    fn place_of(&self, due: u64) -> (usize, usize) {
        let differing = 63 - ((due ^ self.now) | 1).leading_zeros();
        let level = (differing / BITS) as usize;
        let place = due >> (BITS * level as u32) & (PLACES as u64 - 1);
        (level, place as usize)
    }

    fn link(&mut self, at: u32) {
        let (level, place) = self.place_of(self.nodes[at].due);
        let next = std::mem::replace(&mut self.first[level][place], at);
        self.occupied[level] |= 1 << place;
        if next != NONE {
            self.nodes[next].previous = at;
        }
        let node = &mut self.nodes[at];
        (node.previous, node.next) = (NONE, next);
    }

    fn unlink(&mut self, at: u32) {
        let node = &self.nodes[at];
        let (due, next, previous) = (node.due, node.next, node.previous);
        if next != NONE {
            self.nodes[next].previous = previous;
        }
        if previous != NONE {
            self.nodes[previous].next = next;
            return;
        }
        let (level, place) = self.place_of(due);
        self.first[level][place] = next;
        if next == NONE {
            self.occupied[level] &= !(1 << place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Set(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0..3u64, 0..200u64, 0..10_000u64, 0..1u64 << 40];
        prop_oneof![
            3 => span.clone().prop_map(Step::Set),
            1 => any::<usize>().prop_map(Step::Cancel),
            1 => span.prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn timers_come_out_in_order_and_on_time_and_none_is_lost(
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let (mut wheel, mut now, mut named) = (Wheel::new(), 0, 0);
            let mut expected: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(after) => {
                        let at = wheel.set(now + after, Timer::Slot(named));
                        prop_assert_eq!(wheel.due(at), (now + after).min(LAST));
                        expected.insert(named, (at, (now + after).min(LAST)));
                        named += 1;
                    }
                    Step::Cancel(which) => {
                        let which = expected.keys().nth(which % (expected.len() + 1)).copied();
                        if let Some((at, _)) = which.and_then(|which| expected.remove(&which)) {
                            wheel.cancel(at);
                        }
                    }
                    Step::Advance(by) => {
                        now = (now + by).min(LAST);
                        let mut last = 0;
                        while let Some(timer) = wheel.pop(now) {
                            let Timer::Slot(name) = timer else { panic!("{timer:?}") };
                            let (_, due) = expected.remove(&name).expect("it was set");
                            prop_assert!(last <= due && due <= now);
                            last = due;
                        }
                        prop_assert!(expected.values().all(|(_, due)| *due > now));
                    }
                }
                let earliest = expected.values().map(|(_, due)| *due).min();
                prop_assert_eq!(wheel.next().is_some(), earliest.is_some());
                prop_assert!(wheel.next() <= earliest);
                prop_assert_eq!(wheel.len(), expected.len());
            }
        }
    }

    #[test]
    fn a_timer_that_is_due_at_once_is_out_at_once() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.pop(1000), None);
        wheel.set(10, Timer::Circuit(1));
        assert_eq!(wheel.next(), Some(1000));
        assert_eq!(wheel.pop(1000), Some(Timer::Circuit(1)));
        assert_eq!(
            (wheel.pop(1000), wheel.next(), wheel.len()),
            (None, None, 0)
        );
    }

    #[test]
    fn a_timer_takes_memory_until_it_is_out_or_cancelled() {
        let mut wheel = Wheel::new();
        let timers = [1, 70, 5000, LAST].map(|due| wheel.set(due, Timer::Slot(0)));
        let each = size_of::<Option<Node>>();
        assert!((4 * each..16 * each).contains(&wheel.bytes()));
        wheel.cancel(timers[1]);
        wheel.cancel(timers[1]);
        assert_eq!(wheel.len(), 3);
        let out = std::iter::from_fn(|| wheel.pop(LAST)).count();
        assert_eq!((out, wheel.len(), wheel.bytes()), (3, 0, 0));
    }

    #[test]
    fn the_next_look_is_when_a_timer_is_due_if_that_is_within_the_lowest_level() {
        let mut wheel = Wheel::new();
        assert_eq!(wheel.pop(1000), None);
        // 1000 is in the block of 64 that begins at 960 and ends before 1024.
        wheel.set(1023, Timer::Slot(1));
        assert_eq!(wheel.next(), Some(1023));
        wheel.set(1001, Timer::Slot(2));
        assert_eq!(wheel.next(), Some(1001));
        assert_eq!(wheel.pop(1001), Some(Timer::Slot(2)));
        assert_eq!((wheel.pop(1022), wheel.next()), (None, Some(1023)));
        // Later ones are looked at when their block begins, and at most once per level.
        let far = wheel.set(1024 + 63, Timer::Slot(3));
        wheel.cancel(far);
        assert_eq!(wheel.pop(1023), Some(Timer::Slot(1)));
        wheel.set(1024 + 63, Timer::Slot(4));
        assert_eq!(wheel.next(), Some(1024));
        assert_eq!((wheel.pop(1024), wheel.next()), (None, Some(1024 + 63)));
    }
}
