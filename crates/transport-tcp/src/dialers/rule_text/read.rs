//! Reads a rule word by word, and keeps the position of each word.

use std::{net::IpAddr, time::Duration};

use percent_encoding::percent_decode_str;

use super::{Action, Options, ProxyText, Route, Scheme};
use crate::{
    Family, Host, Target,
    dialers::{
        rules::{HostKind, Matcher},
        uplink::Uplink,
    },
    peer_text,
};

/// What is wrong, and at which byte.
type Problem = (usize, String);

/// All of a rule.
pub(super) fn rule(text: &str) -> Result<(Matcher, Action), Problem> {
    let mut words = Words::new(text);
    let (matcher, action) = (matcher(&mut words)?, action(&mut words)?);
    match words.words.next() {
        Some(word) => word.wrong(format!("'{}' does not belong here", word.text)),
        None => Ok((matcher, action)),
    }
}

/// A word of the rule and where it begins.
#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    at: usize,
    text: &'a str,
}

impl<'a> Word<'a> {
    fn wrong<T>(self, problem: impl Into<String>) -> Result<T, Problem> {
        Err((self.at, problem.into()))
    }

    /// The word from its byte `n` on.
    fn skip(self, n: usize) -> Self {
        Self {
            at: self.at + n,
            text: &self.text[n..],
        }
    }

    /// The two sides of the first `separator`.
    fn split(self, separator: char) -> Option<(Self, Self)> {
        let n = self.text.find(separator)?;
        let left = Self {
            at: self.at,
            text: &self.text[..n],
        };
        Some((left, self.skip(n + separator.len_utf8())))
    }

    /// The parts between commas.
    fn list(self) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let word = rest?;
            let (first, left) = word.split(',').map_or((word, None), |(a, b)| (a, Some(b)));
            rest = left;
            Some(first)
        })
    }
}

struct Words<'a> {
    words: std::iter::Peekable<std::vec::IntoIter<Word<'a>>>,
    end: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        let base = text.as_ptr() as usize;
        let words = text.split_whitespace().map(|word| Word {
            at: word.as_ptr() as usize - base,
            text: word,
        });
        Self {
            words: words.collect::<Vec<_>>().into_iter().peekable(),
            end: text.trim_end().len(),
        }
    }

    fn next(&mut self, wanted: &str) -> Result<Word<'a>, Problem> {
        let missing = || (self.end, format!("{wanted} is missing"));
        self.words.next().ok_or_else(missing)
    }

    fn accept(&mut self, text: &str) -> bool {
        self.words.next_if(|word| word.text == text).is_some()
    }
}

fn matcher(words: &mut Words<'_>) -> Result<Matcher, Problem> {
    if words.accept("*") {
        return Ok(Matcher::any());
    }
    let mut matcher = Matcher::any();
    while let Some(word) = words.words.next_if(|word| word.text.contains('=')) {
        let Some((key, values)) = word.split('=') else {
            break;
        };
        for value in values.list() {
            matcher = condition(matcher, key, value)?;
        }
    }
    if matcher == Matcher::any() {
        let wanted = "'*' or a condition such as cidr=10.0.0.0/8";
        let word = words.next(wanted)?;
        return word.wrong(format!("'{}' is not {wanted}", word.text));
    }
    Ok(matcher)
}

fn condition(matcher: Matcher, key: Word<'_>, value: Word<'_>) -> Result<Matcher, Problem> {
    let text = value.text;
    if text.is_empty() {
        return value.wrong(format!("{} has an empty value", key.text));
    }
    match key.text {
        "cidr" => match text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(Into::into))
        {
            Ok(network) => Ok(matcher.cidr(network)),
            Err(_) => value.wrong(format!("'{text}' is not a network such as 10.0.0.0/8")),
        },
        // No name has those in it; and what looks like a proxy would be shown as if it had a password.
        "suffix" if text.trim_matches('.').is_empty() || text.contains(['/', ':', '@']) => {
            value.wrong(format!("'{text}' is not a name"))
        }
        "suffix" => Ok(matcher.suffix(text)),
        "kind" => match text {
            "ip4" => Ok(matcher.kind(HostKind::Ip4)),
            "ip6" => Ok(matcher.kind(HostKind::Ip6)),
            "dns" => Ok(matcher.kind(HostKind::Dns)),
            "onion" => Ok(matcher.kind(HostKind::Onion)),
            _ => value.wrong(format!("'{text}' is not ip4, ip6, dns or onion")),
        },
        "port" => {
            let (low, high) = value.split('-').unwrap_or((value, value));
            Ok(matcher.ports(port(low)?..=port(high)?))
        }
        "peer" => match peer_text::peer(text) {
            Some(peer) => Ok(matcher.peer(peer)),
            None => value.wrong(format!("'{text}' is not a peer id")),
        },
        other => key.wrong(format!("'{other}' is not cidr, suffix, kind, port or peer")),
    }
}

fn port(word: Word<'_>) -> Result<u16, Problem> {
    match word.text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => word.wrong(format!("'{}' is not a port from 1 to 65535", word.text)),
    }
}

fn action(words: &mut Words<'_>) -> Result<Action, Problem> {
    if words.accept("refuse") {
        return Ok(Action::Refuse);
    }
    let mut routes = vec![route(words, "'direct', 'via' or 'refuse'")?];
    while words.accept("else") {
        routes.push(route(words, "'direct' or 'via'")?);
    }
    Ok(Action::Dial(routes))
}

fn route(words: &mut Words<'_>, wanted: &str) -> Result<Route, Problem> {
    let word = words.next(wanted)?;
    match word.text {
        "direct" if words.accept("from") => {
            let mut uplinks = vec![uplink(words)?];
            while words.accept("or") {
                uplinks.push(uplink(words)?);
            }
            Ok(Route::Direct(uplinks))
        }
        "direct" => Ok(Route::Direct(Vec::new())),
        "via" => {
            let mut ways = vec![way(words)?];
            while words.accept("or") {
                ways.push(way(words)?);
            }
            Ok(Route::Via(ways, options(words)?))
        }
        other => word.wrong(format!("'{other}' is not {wanted}")),
    }
}

fn uplink(words: &mut Words<'_>) -> Result<Uplink, Problem> {
    let word = words.next("an address or an interface")?;
    match word.text.parse() {
        Ok(ip) => Ok(Uplink::Address(ip)),
        // IFNAMSIZ is 16, with the byte that ends it.
        Err(_) if word.text.len() < 16 && !word.text.contains('/') => {
            Ok(Uplink::Interface(word.text.into()))
        }
        Err(_) => word.wrong(format!("'{}' is no address and no interface", word.text)),
    }
}

fn way(words: &mut Words<'_>) -> Result<Vec<ProxyText>, Problem> {
    let mut hops = Vec::new();
    loop {
        let word = words.next("a proxy such as socks5://127.0.0.1:1080")?;
        hops.push(proxy(word)?);
        if !words.accept("then") {
            return Ok(hops);
        }
    }
}

fn proxy(word: Word<'_>) -> Result<ProxyText, Problem> {
    let scheme = word.text.split("://").next().unwrap_or_default();
    if scheme.len() == word.text.len() {
        return word.wrong("a proxy begins with socks5://, http:// or https://");
    }
    let rest = word.skip(scheme.len() + 3);
    let scheme = match scheme {
        "socks5" | "socks5h" => Scheme::Socks5,
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => return word.wrong(format!("'{other}' is not socks5, http or https")),
    };
    let (credentials, authority) = match rest.text.rfind('@') {
        None => (None, rest),
        Some(n) => {
            let user = Word {
                at: rest.at,
                text: &rest.text[..n],
            };
            (Some(credentials(user, scheme)?), rest.skip(n + 1))
        }
    };
    Ok(ProxyText {
        scheme,
        credentials,
        address: address(authority)?,
    })
}

fn credentials(word: Word<'_>, scheme: Scheme) -> Result<(String, String), Problem> {
    let Some((user, password)) = word.split(':') else {
        return word.wrong("a user without a password: USER:PASSWORD@");
    };
    let decode = |word: Word<'_>, what| {
        let Ok(text) = percent_decode_str(word.text).decode_utf8() else {
            return word.wrong(format!("the {what} is not text"));
        };
        // RFC 1929 counts them in a byte each.
        if scheme == Scheme::Socks5 && !(1..=255).contains(&text.len()) {
            return word.wrong(format!("the {what} is not of 1 to 255 bytes"));
        }
        Ok(text.into_owned())
    };
    Ok((decode(user, "user")?, decode(password, "password")?))
}

fn address(word: Word<'_>) -> Result<Target, Problem> {
    let Some(colon) = word.text.rfind(':') else {
        return word.wrong("a proxy's address is HOST:PORT");
    };
    let (host, port) = (&word.text[..colon], port(word.skip(colon + 1))?);
    let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(inner) => match inner.and_then(|ip| ip.parse::<IpAddr>().ok()) {
            Some(ip) => Host::Ip(ip),
            None => return word.wrong(format!("'{host}' is not an address in brackets")),
        },
        None => match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => return word.wrong("an IPv6 address stands in brackets"),
            Ok(ip) => Host::Ip(ip),
            Err(_) if is_name(host) => Host::Dns {
                name: host.to_owned(),
                family: Family::Any,
            },
            Err(_) => return word.wrong(format!("'{host}' is not a host")),
        },
    };
    Ok(Target::new(host, port, None))
}

fn is_name(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&host.len()) && host.bytes().all(allowed)
}

fn options(words: &mut Words<'_>) -> Result<Options, Problem> {
    let mut options = Options::default();
    while let Some((key, value)) = words.words.peek().and_then(|word| word.split('=')) {
        words.words.next();
        let given_twice = match key.text {
            "retry" => options.retry.replace(number(value, 1, 100)?).is_some(),
            "warm" => {
                let size = number(value, 1, 1_000)?;
                options.warm.replace(size as usize).is_some()
            }
            "reach" => options.reach.replace(seconds(value)?).is_some(),
            "handshake" => options.handshake.replace(seconds(value)?).is_some(),
            other => {
                return key.wrong(format!("'{other}' is not retry, warm, reach or handshake"));
            }
        };
        if given_twice {
            return key.wrong(format!("{} is said twice", key.text));
        }
    }
    Ok(options)
}

fn number(word: Word<'_>, low: u32, high: u32) -> Result<u32, Problem> {
    match word.text.parse() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => word.wrong(format!(
            "'{}' is not a number from {low} to {high}",
            word.text
        )),
    }
}

fn seconds(word: Word<'_>) -> Result<Duration, Problem> {
    match word.text.parse::<f64>() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => word.wrong(format!(
            "'{}' is not a number of seconds from 0.001 to 86400",
            word.text
        )),
    }
}
