//! The locks. The unit tests of this crate use the locks of a model checker. All other code, including integration tests and
//! doctests, uses those of the standard library.

#[cfg(not(test))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    thread::yield_now,
};

#[cfg(test)]
pub(crate) use shuttle::{
    hint::spin_loop,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    thread::yield_now,
};

/// A bound, or a smaller one in unit tests, where a few steps are to meet it.
pub(crate) const fn bound(bound: u64, in_tests: u64) -> u64 {
    match cfg!(test) {
        true => in_tests,
        false => bound,
    }
}
