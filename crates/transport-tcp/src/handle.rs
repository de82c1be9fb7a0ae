//! The handle that keeps a connection open.

use std::sync::Arc;

use crate::{
    Link, PeerId, Security,
    driver::{Shared, Wish},
};

/// Every handle and every stream holds it: with the last of them the connection goes.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: PeerId,
    pub(crate) security: Security,
    pub(crate) link: Option<Link>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.wish(Wish::Close);
    }
}
