//! The texts of rules, and the answers of proxies.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_socks::tcp::Socks5Stream;

use crate::{
    ByteStream, DirectConfig, HttpConnect, ProxyError, RuleText, Rules, Socks5, Target,
    dialers::http_connect::MAX_HEADER,
};

/// The greeting's answer, the password's, and the longest reply.
const MAX_SOCKS: usize = 2 + 2 + 4 + 1 + 255 + 2;

/// The text of a rule. If the rule can be read, its dialer is tested, too.
pub fn rule_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let rule = match text.parse::<RuleText>() {
        Ok(rule) => rule,
        Err(error) => {
            assert!((1..=text.chars().count() + 1).contains(&error.column()));
            let _ = (error.to_string(), error.picture());
            return;
        }
    };
    let shown = rule.to_string();
    assert_eq!(shown.chars().count(), text.trim().chars().count());
    // A password that is blotted out is one as well, if it is not too long for one.
    if text.len() < 250 {
        let again = shown.parse::<RuleText>().expect("it reads what it writes");
        assert_eq!(again.matcher, rule.matcher, "{shown}");
        assert_eq!(again.to_string(), shown);
    }
    for target in targets() {
        let _ = rule.matcher.matches(&target);
    }
    // Those need the system's certificates.
    if !text.contains("https") {
        let rules = Rules::from_texts(&[rule], &DirectConfig::default());
        let _ = format!("{:?}", rules.expect("nothing is read for it"));
    }
}

fn targets() -> impl Iterator<Item = Target> {
    let addresses = ["/ip4/10.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/dns/a.b.c/tcp/1"];
    addresses.into_iter().filter_map(|text| text.parse().ok())
}

/// The answer of a proxy to a dial, and the bytes that follow. The first byte encodes the kind of the proxy and the
/// number of bytes per read.
pub fn proxy_answer(data: &[u8]) {
    let Some((kind, said)) = data.split_first() else {
        return;
    };
    let step = usize::from(kind / 3) * 5 + 1;
    match kind % 3 {
        0 => http(said, step),
        1 => socks5(said, step, None),
        _ => socks5(said, step, Some(("user", "password"))),
    }
}

fn target() -> Target {
    Target::new(crate::Host::Ip([192, 0, 2, 1].into()), 80, None)
}

fn http(said: &[u8], step: usize) {
    let (stream, read) = Said::new(said, step);
    let proxy = HttpConnect::new(target());
    let asked = at_once(proxy.request(ByteStream::boxed(stream), &target()));
    let rest = asked.map(rest);
    match rest {
        Ok(rest) => {
            assert!(said.ends_with(&rest), "bytes from nowhere");
            let header = &said[..said.len() - rest.len()];
            assert!(header.ends_with(b"\n") && header.len() <= MAX_HEADER);
        }
        Err(error) => {
            let read = read.load(Ordering::Relaxed);
            assert!(read <= MAX_HEADER, "{read} bytes were read");
            let whole = read == said.len() || !matches!(error, ProxyError::Closed);
            assert!(whole, "closed before the end");
        }
    }
}

fn socks5(said: &[u8], step: usize, password: Option<(&str, &str)>) {
    let (stream, read) = Said::new(said, step);
    let mut proxy = Socks5::new(target());
    if let Some((user, password)) = password {
        proxy = proxy.with_password(user, password);
    }
    let asked = at_once(async {
        let (stream, replies) = proxy.greet(ByteStream::boxed(stream)).await?;
        proxy.request(stream, replies, &target()).await
    });
    let read = read.load(Ordering::Relaxed);
    assert!(read <= MAX_SOCKS, "{read} bytes were read");
    // In two parts it must come to the same as in one.
    let (stream, _) = Said::new(said, step);
    let address = SocketAddr::from(([192, 0, 2, 1], 80));
    let plain = at_once(async {
        match password {
            None => Socks5Stream::connect_with_socket(stream, address).await,
            Some((user, password)) => {
                let connect = Socks5Stream::connect_with_password_and_socket;
                connect(stream, address, user, password).await
            }
        }
    });
    match (asked, plain) {
        (Ok(ours), Ok(plain)) => {
            let plain = rest(ByteStream::boxed(plain.into_inner()));
            assert!(rest(ours) == plain && said.ends_with(&plain));
        }
        (Err(_), Err(_)) => {}
        (ours, plain) => panic!("{ours:?}, and in one part {:?}", plain.map(drop)),
    }
}

fn rest(mut stream: ByteStream) -> Vec<u8> {
    let mut rest = Vec::new();
    at_once(stream.read_to_end(&mut rest)).expect("it ends");
    rest
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing is waited for")
}

/// Says all that in steps, and then hangs up. Hears nothing.
struct Said {
    said: Vec<u8>,
    step: usize,
    read: Arc<AtomicUsize>,
}

impl Said {
    fn new(said: &[u8], step: usize) -> (Self, Arc<AtomicUsize>) {
        let read = Arc::<AtomicUsize>::default();
        let this = Self {
            said: said.to_vec(),
            step,
            read: Arc::clone(&read),
        };
        (this, read)
    }
}

impl AsyncRead for Said {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.said[self.read.load(Ordering::Relaxed)..];
        let n = left.len().min(self.step).min(buf.remaining());
        buf.put_slice(&left[..n]);
        self.read.fetch_add(n, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Said {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len().min(self.step)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// A proxy's words that are mostly in order, and what follows.
    fn socks() -> impl Strategy<Value = Vec<u8>> {
        let greeting = prop_oneof![Just(vec![5, 0]), Just(vec![5, 2, 1, 0])];
        let name = prop::collection::vec(any::<u8>(), 0..256);
        let name = name.prop_map(|name| [&[3, name.len() as u8], &name[..], &[0, 80]].concat());
        let address = prop_oneof![Just(vec![1, 0, 0, 0, 0, 0, 0]), Just(vec![4; 19]), name];
        let rest = prop::collection::vec(any::<u8>(), 0..40);
        (1..3_u8, any::<u8>(), greeting, address, rest).prop_map(
            |(kind, step, greeting, address, rest)| {
                let first = vec![kind + step / 3 * 3 % 252];
                [first, greeting, vec![5, 0, 0], address, rest].concat()
            },
        )
    }

    proptest! {
        #[test]
        fn no_rule_and_no_answer_upsets_its_reader(data in prop::collection::vec(any::<u8>(), 0..600)) {
            super::rule_text(&data);
            super::proxy_answer(&data);
        }

        #[test]
        fn rules_that_are_nearly_right_are_read_or_refused(
            text in "(\\*|(cidr|suffix|kind|port|peer)=[a-z0-9./:,-]{0,12}) (via|direct|refuse|from|or|then)( socks5://[a-z:@%0-9]{0,12}:[0-9]{1,5}| or| then| [a-z]{1,6}=[0-9.]{1,4}){0,4}",
        ) {
            super::rule_text(text.as_bytes());
        }

        #[test]
        fn http_answers_are_read_to_their_end_and_no_further(
            kind in (0..85_u8).prop_map(|n| n * 3),
            head in "(HTTP/1\\.[01] 1[0-9]{2} [a-z]{0,9}\r\n\r\n){0,2}HTTP/1\\.1 [1-5][0-9]{2} [ -~]{0,20}\r?\n([A-Za-z]{1,9}: [ -~]{0,30}\r\n){0,5}\r\n",
            rest in prop::collection::vec(any::<u8>(), 0..2_000),
        ) {
            super::proxy_answer(&[&[kind], head.as_bytes(), &rest].concat());
        }

        #[test]
        fn socks_answers_in_two_parts_are_the_same_as_in_one(said in socks()) {
            super::proxy_answer(&said);
        }
    }
}
