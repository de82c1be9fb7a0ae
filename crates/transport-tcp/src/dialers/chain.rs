//! Several proxies in a row. Each proxy is reached through the previous one.

use std::{fmt, sync::Arc};

use super::proxy::{self, Broken, Proxy};
use crate::{ByteStream, DialContext, DialError, DialStage, Dialer, ProxyError, Target};

/// Dials through several proxies in a row.
///
/// The configuration of the first proxy decides how it is reached. Each further proxy is reached through the previous
/// ones, so the previous proxy resolves its host name. Only the last proxy learns the target.
///
/// A dial takes the sum of the round trips to all proxies. The round trip to a proxy passes through all proxies before
/// it.
#[derive(Clone)]
pub struct Chain {
    first: Proxy,
    rest: Vec<Proxy>,
    label: Arc<str>,
}

impl Chain {
    /// The proxies in the order in which they are passed.
    pub fn new(first: impl Into<Proxy>, rest: impl IntoIterator<Item = Proxy>) -> Self {
        let first = first.into();
        let rest: Vec<_> = rest.into_iter().collect();
        let mut label = first.to_string();
        for proxy in &rest {
            label.extend([" then ", proxy.label()]);
        }
        Self {
            first,
            rest,
            label: label.into(),
        }
    }

    /// The last proxy, reached through the others.
    pub(crate) fn into_proxy(mut self) -> Proxy {
        match self.rest.pop() {
            None => self.first,
            Some(last) => {
                let before = Self::new(self.first, self.rest);
                last.behind(&before.label.clone(), Arc::new(before))
            }
        }
    }

    /// Reaches the last proxy, which is given with the stream to it.
    async fn reach(
        &self,
        target: &Target,
        cx: &DialContext,
    ) -> Result<(&Proxy, ByteStream), DialError> {
        for next in &self.rest {
            proxy::check_target(next.address())?;
        }
        let mut at = &self.first;
        let reached = at.reach(cx).await;
        let mut stream = reached.map_err(|broken| broken.into_error(at, target))?;
        for next in &self.rest {
            let reached = at.handshake(stream, next.address(), cx).await;
            stream = reached.map_err(|broken| match broken.stage {
                // It is the next one that was not reached.
                DialStage::Request => {
                    let source = Box::new(broken.into_error(at, next.address()));
                    let unreachable = Broken {
                        stage: DialStage::Reach,
                        source: ProxyError::Unreachable(source),
                    };
                    unreachable.into_error(next, target)
                }
                _ => broken.into_error(at, target),
            })?;
            at = next;
        }
        Ok((at, stream))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

#[async_trait::async_trait]
impl Dialer for Chain {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        proxy::check_target(target)?;
        cx.take(&self.label);
        let (last, stream) = self.reach(target, cx).await?;
        let asked = last.handshake(stream, target, cx).await;
        asked.map_err(|broken| broken.into_error(last, target))
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        let target = self.rest.last().unwrap_or(&self.first).address();
        let (last, stream) = self.reach(target, cx).await?;
        let greeted = last.greet(stream, cx).await;
        greeted
            .map(drop)
            .map_err(|broken| broken.into_error(last, target))
    }
}
