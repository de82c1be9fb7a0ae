//! A task that belongs to a dialer.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinHandle;

/// Runs at most one task at a time, started by the first use, ended with its owner.
#[derive(Debug, Default)]
pub(crate) struct Background(Mutex<Option<JoinHandle<()>>>);

impl Background {
    /// Starts the task unless it runs. Must be called within a tokio runtime.
    pub(crate) fn ensure<F>(&self, task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_none_or(JoinHandle::is_finished) {
            *running = Some(tokio::spawn(task()));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let running = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running {
            running.abort();
        }
    }
}
