//! The memory that a peer can make one connection keep. A test program of its own, because it counts every allocation.
//!
//! The rule: bytes kept ≤ the cost of the connection and its open streams + 512 KiB + 2 × unread payload.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod flood;
mod generator;
mod honest;

use std::{
    alloc::System,
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What a connection may keep beyond its cost and what is unread.
const SLACK: usize = 512 * KIB;

/// The bytes that this process has allocated and not given back.
fn kept() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Runs one test at a time, because the others would be counted as well: its thread has ended before the next one begins, and
/// with it the buffers that a thread keeps.
fn alone(test: impl FnOnce() + Send) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = thread::scope(|scope| scope.spawn(test).join());
    ended.unwrap_or_else(|panic| resume_unwind(panic));
}

/// Runs a test whose clock stands still while there is something to do.
fn paused<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true);
    runtime.build().unwrap().block_on(test)
}

/// Waits until every task waits. The paused clock moves on only then.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
