//! Builds the dialers that carry out rules.

use std::{io, sync::Arc, time::Duration};

use super::{Action, Options, ProxyText, Route, RuleText, Scheme};
use crate::{
    Balance, BalanceConfig, Bound, Chain, Deadline, DeadlineConfig, Dialer, Direct, DirectConfig,
    Fallback, HttpConnect, Proxy, ProxyTls, Retry, RetryConfig, Rules, Socks5, Warm, WarmConfig,
};

/// How long a proxy may take to be reached if there is another way or route and the rule does not say. Long enough for two
/// lost SYN packets, short enough to leave time for the next way.
const REACH: Duration = Duration::from_secs(5);

impl Rules {
    /// The rules in their order. `direct` contains the settings for dials of addresses and of the proxies themselves.
    ///
    /// # Errors
    ///
    /// A rule has an `https` proxy and the system's certificate authorities cannot be read.
    pub fn from_texts(texts: &[RuleText], direct: &DirectConfig) -> io::Result<Self> {
        let builder = Builder { direct };
        let mut rules = Self::new();
        for rule in texts {
            let (label, matcher) = (rule.to_string(), rule.matcher.clone());
            rules = match &rule.action {
                Action::Refuse => rules.refuse(&label, matcher),
                Action::Dial(routes) => rules.via(&label, matcher, builder.routes(routes)?),
            };
        }
        Ok(rules)
    }
}

struct Builder<'a> {
    direct: &'a DirectConfig,
}

impl Builder<'_> {
    fn routes(&self, routes: &[Route]) -> io::Result<Arc<dyn Dialer>> {
        let more = routes.len() > 1;
        let dialers = routes.iter().map(|route| self.route(route, more));
        let mut dialers = dialers.collect::<io::Result<Vec<_>>>()?;
        Ok(match dialers.pop() {
            Some(only) if !more => only,
            last => {
                dialers.extend(last);
                Arc::new(Fallback::new(dialers))
            }
        })
    }

    /// `more`: there are other routes, which need some of the time.
    fn route(&self, route: &Route, more: bool) -> io::Result<Arc<dyn Dialer>> {
        match route {
            Route::Direct(uplinks) if uplinks.is_empty() => {
                Ok(Arc::new(Direct::new(self.direct.clone())))
            }
            Route::Direct(uplinks) => {
                let uplinks = uplinks.iter().cloned();
                Ok(Arc::new(Bound::new(uplinks, self.direct.clone())))
            }
            Route::Via(ways, options) => self.via(ways, options, more),
        }
    }

    fn via(
        &self,
        ways: &[Vec<ProxyText>],
        options: &Options,
        more: bool,
    ) -> io::Result<Arc<dyn Dialer>> {
        let dialers = ways.iter().map(|way| self.way(way, options));
        let mut dialers = dialers.collect::<io::Result<Vec<_>>>()?;
        let several = dialers.len() > 1;
        let one: Arc<dyn Dialer> = match dialers.pop() {
            Some(only) if !several => only,
            last => {
                dialers.extend(last);
                Arc::new(Balance::new(dialers, BalanceConfig::default()))
            }
        };
        let limits = DeadlineConfig {
            reach: options.reach.or((several || more).then_some(REACH)),
            handshake: options.handshake,
            total: None,
        };
        let limited: Arc<dyn Dialer> = match limits == DeadlineConfig::default() {
            true => one,
            false => Arc::new(Deadline::new(one, limits)),
        };
        Ok(match options.retry {
            None => limited,
            Some(retries) => {
                let config = RetryConfig::default().with_attempts(retries.saturating_add(1));
                Arc::new(Retry::new(limited, config))
            }
        })
    }

    fn way(&self, hops: &[ProxyText], options: &Options) -> io::Result<Arc<dyn Dialer>> {
        let proxies = hops.iter().map(|hop| self.proxy(hop));
        let mut proxies = proxies.collect::<io::Result<Vec<_>>>()?.into_iter();
        let Some(first) = proxies.next() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let proxy = Chain::new(first, proxies).into_proxy();
        Ok(match options.warm {
            Some(size) => Arc::new(Warm::new(proxy, WarmConfig::default().with_size(size))),
            None => proxy.into_dialer(),
        })
    }

    fn proxy(&self, text: &ProxyText) -> io::Result<Proxy> {
        let (address, base) = (text.address.clone(), Direct::new(self.direct.clone()));
        let credentials = text.credentials.as_ref();
        if text.scheme == Scheme::Socks5 {
            let proxy = Socks5::new(address).through(base);
            return Ok(match credentials {
                None => proxy.into(),
                Some((user, password)) => proxy.with_password(user, password).into(),
            });
        }
        let mut proxy = HttpConnect::new(address).through(base);
        if let Some((user, password)) = credentials {
            proxy = proxy.with_basic_auth(user, password);
        }
        if text.scheme == Scheme::Https {
            proxy = proxy.with_tls(ProxyTls::system()?);
        }
        Ok(proxy.into())
    }
}
