//! The locks: the standard library's, or in this crate's unit tests those of a model checker. Integration tests and doctests
//! have the standard library's.

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
