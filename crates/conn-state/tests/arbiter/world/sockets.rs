//! What the two know of each other's sockets, and how soon a dead connection has to be gone for it.

use conn_state::{Phase, Remote};

use super::{Occurrence, Side, World};

/// How long after the handshake of the new connection.
const AT_MOST: u64 = 1_000;

/// A handshake up to this shows that an answer would have come before the probe ended: eight of them are shorter.
const QUICK: u64 = 62;

/// A connection that died with the peer's earlier life, while a newer one comes from the same socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    by: u64,
    side: Side,
    dead: usize,
    new: usize,
}

impl World {
    /// Where this end of a link sees the other.
    pub(super) fn remote(&self, link: usize, side: Side) -> Option<Remote> {
        let dial = &self.script.dials[link];
        // A relay is not the peer, and a TCP port is another one each time.
        let port = if dial.by_socket { side } else { 1_000 + link };
        let port = u16::try_from(port).expect("few links");
        let address = ([127, 0, 0, 1], port).into();
        (!dial.limited).then(|| Remote::new(dial.by_socket, address))
    }

    /// A link has come up at this end, by a dial of the other one. What is dead of those by the same socket is owed.
    pub(super) fn owe(&mut self, new: usize, side: Side) {
        let is_by_socket = |link: &usize| {
            let dial = &self.script.dials[*link];
            dial.by_socket && !dial.limited
        };
        if !is_by_socket(&new) || self.script.dials[new].from == side || self.script.is_slow {
            return;
        }
        if self.handshake(new, side) > QUICK {
            return;
        }
        let links = (0..self.links.len()).filter(|link| *link != new && is_by_socket(link));
        let dead = links.filter(|link| {
            let is_of_earlier_life = self.links[*link].ends[1 - side]
                .is_some_and(|end| end.life < self.hosts[1 - side].life);
            is_of_earlier_life && self.phase(*link, side) == Some(Phase::Established)
        });
        let by = self.now + AT_MOST;
        let owed = dead.map(|dead| Owed {
            by,
            side,
            dead,
            new,
        });
        self.owed.extend(owed.collect::<Vec<_>>());
        self.plan(by, Occurrence::Look);
    }

    /// How long the handshake of a connection took that has just come up at this end.
    fn handshake(&self, link: usize, side: Side) -> u64 {
        let known = self.end(link, side);
        let known = known.and_then(|id| self.hosts[side].tracker.connection(self.instant(), id));
        let age = known.expect("it has just come up").age.as_millis();
        u64::try_from(age).expect("a short story")
    }

    /// What is owed is gone in time, unless the new one was lost meanwhile.
    pub(super) fn none_lingers(&mut self) -> Result<(), String> {
        let (due, left) = self.owed.iter().partition(|owed| owed.by <= self.now);
        self.owed = left;
        for Owed {
            side, dead, new, ..
        } in due
        {
            let lives = self.end(new, 1 - side).is_some();
            let is_kept = lives && self.phase(new, side) == Some(Phase::Established);
            if is_kept && self.end(dead, side).is_some() {
                return Err(format!(
                    "at {} ms {side} still has {dead}, which {new} has replaced",
                    self.now
                ));
            }
            self.gone_in_time += usize::from(is_kept);
        }
        Ok(())
    }

    /// How many dead connections were gone in time.
    pub(crate) fn gone_in_time(&self) -> usize {
        self.gone_in_time
    }
}
