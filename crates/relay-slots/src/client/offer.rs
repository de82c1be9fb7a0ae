//! What the client knows of an offered peer.

/// What the client knows of a relay that it has not been told to use, but that the host has offered.
#[derive(Debug)]
pub(super) struct Offer {
    /// The order of the offers. A peer that was tried in vain goes to the end.
    pub(super) number: u64,
    /// Whether the peer serves the hop protocol, as far as it has told.
    pub(super) serves: Option<bool>,
    /// The pace has admitted a try, which has not ended.
    pub(super) trying: bool,
    /// The peer was asked for a slot and gave none: nothing that it tells ends its pause.
    pub(super) declined: bool,
    /// The last slot of the peer lasted for [`super::ClientConfig::min_ttl`].
    pub(super) lasted: bool,
}

impl Offer {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            serves: None,
            trying: false,
            declined: false,
            lasted: false,
        }
    }

    pub(super) fn serves(&self) -> bool {
        self.serves == Some(true)
    }

    pub(super) fn is_no_relay(&self) -> bool {
        self.serves == Some(false)
    }
}
