//! The allocator, and how it gives back the memory of connections that have ended.

use std::{hint::black_box, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Notify, time::sleep};

/// Every large read and write allocates a buffer of 64 KiB and frees it. mimalloc keeps freed buffers, and the
/// system's allocator returns them to the kernel. mimalloc raises the throughput by more than half.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc searches a thread's memory for free pages each time that the thread has made this many allocations of more than
/// 1 KiB (mimalloc's option `generic_collect`).
const ALLOCATIONS: usize = 10_000;

/// More than the 1 KiB up to which mimalloc does not count an allocation.
const SIZE: usize = 2 << 10;

/// The time between two searches. mimalloc returns a free page 1 s after it was found (its option `purge_delay`).
const INTERVAL: Duration = Duration::from_secs(3);

/// How many searches follow the end of a connection. One search may miss a thread, because tokio may run two of its tasks on
/// the same thread.
const SEARCHES: usize = 8;

/// Gives the memory of ended connections back to the system.
///
/// Any thread can free a block, but only the thread that allocated the block gives its page back, and only while that thread
/// allocates. Without this, an idle node would keep all the memory of 5,000 connections that have ended.
#[derive(Clone, Default)]
pub(crate) struct Reclaimer(Arc<Notify>);

impl Reclaimer {
    /// Starts to look for freed memory when [`Self::notify`] is called. Ends with the runtime.
    pub(crate) fn start() -> Self {
        let reclaimer = Self::default();
        let notified = Arc::clone(&reclaimer.0);
        tokio::spawn(async move {
            loop {
                notified.notified().await;
                for _ in 0..SEARCHES {
                    sleep(INTERVAL).await;
                    search_all_threads();
                }
            }
        });
        reclaimer
    }

    /// Says that a connection has ended.
    pub(crate) fn notify(&self) {
        self.0.notify_one();
    }
}

/// One task for each worker thread, each long enough that an idle thread takes one.
fn search_all_threads() {
    let runtime = Handle::current();
    for _ in 0..runtime.metrics().num_workers() {
        runtime.spawn(async {
            for _ in 0..ALLOCATIONS {
                black_box(Vec::<u8>::with_capacity(SIZE));
            }
        });
    }
}
