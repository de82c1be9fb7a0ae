//! What must hold of the two at every moment, and what in the end.

use conn_state::{Phase, State};

use super::{Side, World};

impl World {
    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(story) = &mut self.story {
            story.push(format!("{now} ms: {}", what()));
        }
    }

    pub(super) fn phase(&self, link: usize, side: Side) -> Option<Phase> {
        let id = self.end(link, side)?;
        let info = self.hosts[side].tracker.connection(self.instant(), id)?;
        Some(info.phase)
    }

    /// Once the two had a connection they have one, and either has one that it uses and the other has not given up.
    pub(super) fn never_apart(&mut self) -> Result<(), String> {
        let is_up = |link: &usize| {
            let up = |side| self.phase(*link, side).is_some_and(Phase::is_up);
            up(0) && up(1)
        };
        let met = (0..self.links.len()).any(|link| is_up(&link));
        self.has_met |= met;
        if !self.has_met || self.is_broken || self.script.is_slow {
            return Ok(());
        }
        if !met {
            return Err(format!(
                "at {} ms no connection is up at both ends",
                self.now
            ));
        }
        for side in [0, 1] {
            let is_used = |link: &usize| {
                let phase = self.phase(*link, side);
                let other = self.phase(*link, 1 - side);
                // The word that it was refused is on its way.
                let is_there = other.is_some() || self.script.dials[*link].refused;
                matches!(phase, Some(Phase::Limited | Phase::Established)) && is_there
            };
            if !(0..self.links.len()).any(|link| is_used(&link)) {
                return Err(format!("at {} ms {side} uses none that is", self.now));
            }
            if self.hosts[side].tracker.state(&self.peer(side)) == State::NotConnected {
                return Err(format!("at {} ms {side} is not connected", self.now));
            }
        }
        Ok(())
    }

    /// What is left is one connection, the same at both ends. It may be none if the one that both kept broke.
    pub(super) fn settled(&self) -> Result<(), String> {
        let kept = |side: Side| -> Vec<usize> {
            let links = 0..self.links.len();
            links
                .filter(|link| self.end(*link, side).is_some())
                .collect()
        };
        let (ours, theirs) = (kept(0), kept(1));
        if !self.has_met {
            return Ok(());
        }
        let may_be_none = self.is_broken || self.script.is_slow;
        if ours != theirs || ours.len() > 1 || ours.is_empty() && !may_be_none {
            return Err(format!("in the end one has {ours:?}, the other {theirs:?}"));
        }
        Ok(())
    }

    /// Whether the two have a connection in the end.
    pub(crate) fn has_met(&self) -> bool {
        self.has_met
    }

    /// How often one of them began to drain a connection.
    pub(crate) fn drained(&self) -> usize {
        self.drained
    }

    /// Which dial's connection is left.
    pub(crate) fn kept(&self) -> Option<usize> {
        (0..self.links.len()).find(|link| self.end(*link, 0).is_some())
    }
}
