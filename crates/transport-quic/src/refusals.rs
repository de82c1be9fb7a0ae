//! Refusals of the system to send to an address. A dial of such an address fails at once.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The running dials of one socket. There is one entry per dial.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    dials: BTreeMap<u64, (SocketAddr, oneshot::Sender<io::Error>)>,
}

impl Refusals {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to wait for a refusal of packets to `address`.
    pub(crate) fn watch(&self, address: SocketAddr) -> Watch<'_> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        let id = waiting.next;
        waiting.next += 1;
        waiting.dials.insert(id, (address, sender));
        Watch {
            refusals: self,
            id,
            receiver,
        }
    }

    /// Reports the error of a packet to the dials that wait for `address`.
    pub(crate) fn handle_error(&self, address: SocketAddr, error: &io::Error) {
        if !is_final(error) {
            return;
        }
        let mut waiting = self.waiting();
        let concerned = |(_, (to, _)): &(&u64, &(SocketAddr, _))| *to == address;
        let ids: Vec<u64> = waiting
            .dials
            .iter()
            .filter(concerned)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some((_, sender)) = waiting.dials.remove(&id) {
                let _ = sender.send(copy(error));
            }
        }
    }
}

/// Whether this error would end a connect over TCP, too. A full queue, for example, is a temporary error.
fn is_final(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::AddrNotAvailable
            | ErrorKind::InvalidInput
            | ErrorKind::PermissionDenied
    )
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// One dial that waits. Dropping it ends the wait.
pub(crate) struct Watch<'a> {
    refusals: &'a Refusals,
    id: u64,
    receiver: oneshot::Receiver<io::Error>,
}

impl Watch<'_> {
    /// The error of the first packet that the system refuses. The future does not end while the system sends all packets.
    pub(crate) async fn refused(&mut self) -> io::Error {
        match (&mut self.receiver).await {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.refusals.waiting().dials.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_refusal_reaches_the_dials_of_its_address_and_nobody_else() {
        let refusals = Refusals::default();
        let (one, two) = (
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:1".parse().unwrap(),
        );
        let mut dials = [one, one, two].map(|address| refusals.watch(address));
        refusals.handle_error(one, &ErrorKind::OutOfMemory.into());
        refusals.handle_error(one, &ErrorKind::NetworkUnreachable.into());
        let told = dials.each_mut().map(|dial| dial.refused().now_or_never());
        let kinds = told.map(|error| error.map(|error| error.kind()));
        let unreachable = Some(ErrorKind::NetworkUnreachable);
        assert_eq!(kinds, [unreachable, unreachable, None]);
        drop(dials);
        assert!(refusals.waiting().dials.is_empty());
    }

    #[test]
    fn each_error_that_a_firewall_or_a_missing_route_causes_ends_the_dial() {
        for kind in [
            ErrorKind::NetworkUnreachable,
            ErrorKind::HostUnreachable,
            ErrorKind::AddrNotAvailable,
            ErrorKind::InvalidInput,
            ErrorKind::PermissionDenied,
        ] {
            assert!(is_final(&kind.into()), "{kind}");
        }
        for kind in [ErrorKind::WouldBlock, ErrorKind::OutOfMemory] {
            assert!(!is_final(&kind.into()), "{kind}");
        }
    }
}
