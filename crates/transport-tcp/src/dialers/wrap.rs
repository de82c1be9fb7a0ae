//! A closure around another dialer.

use std::{fmt, sync::Arc};

use crate::{ByteStream, DialContext, DialError, Dialer, Target};

/// A dialer made by [`wrap`].
#[derive(Clone)]
pub struct Wrap<F> {
    inner: Arc<dyn Dialer>,
    dial: F,
}

/// Dials with a closure that passes dials to `inner`, for example to log, to count or to repeat them.
///
/// [`Dialer::check`] and [`Dialer::is_direct`] are forwarded to `inner`. The closure must therefore neither refuse nor
/// change targets: if `inner` dials a target directly, another transport may dial the target without asking the
/// closure. To refuse or change targets, implement [`Dialer`] yourself, with an `is_direct` that returns false for
/// these targets.
///
/// ```
/// use transport_tcp::{Dialer, Direct, wrap};
///
/// let logged = wrap(Direct::default(), |inner, target, cx| async move {
///     println!("dialing {target}");
///     inner.dial(&target, &cx).await
/// });
/// assert!(logged.is_direct(&"/ip4/192.0.2.1/tcp/4001".parse()?));
/// # Ok::<_, transport_tcp::AddressError>(())
/// ```
pub fn wrap<F, R>(inner: impl Dialer + 'static, dial: F) -> Wrap<F>
where
    F: Fn(Arc<dyn Dialer>, Target, DialContext) -> R + Send + Sync,
    R: Future<Output = Result<ByteStream, DialError>> + Send,
{
    let inner = Arc::new(inner);
    Wrap { inner, dial }
}

impl<F> fmt::Debug for Wrap<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrap")
    }
}

#[async_trait::async_trait]
impl<F, R> Dialer for Wrap<F>
where
    F: Fn(Arc<dyn Dialer>, Target, DialContext) -> R + Send + Sync,
    R: Future<Output = Result<ByteStream, DialError>> + Send,
{
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        (self.dial)(Arc::clone(&self.inner), target.clone(), cx.clone()).await
    }

    fn is_direct(&self, target: &Target) -> bool {
        self.inner.is_direct(target)
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        self.inner.check(cx).await
    }
}
