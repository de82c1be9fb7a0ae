//! Rules in their text form.
//!
//! ```text
//! RULE   = MATCH ACTION
//! MATCH  = '*' | COND…              every COND must match; one matching value of a COND suffices
//! COND   = 'cidr='NET[,NET]…        10.0.0.0/8, fd00::/8, or a single address
//!        | 'suffix='NAME[,NAME]…    .onion, example.com: this name and its subdomains
//!        | 'kind='KIND[,KIND]…      ip4, ip6, dns, onion
//!        | 'port='PORT[,PORT]…      443, 4000-4100
//!        | 'peer='ID[,ID]…          12D3KooW…
//! ACTION = 'refuse'
//!        | ROUTE ['else' ROUTE]…                   'else': a route that is used only while all earlier routes are down
//! ROUTE  = 'direct' ['from' UPLINK ['or' UPLINK]…]  an address or an interface of this machine
//!        | 'via' CHAIN ['or' CHAIN]… [OPTION]…     'or': balancing by health and speed
//! CHAIN  = PROXY ['then' PROXY]…                   'then': a proxy that is reached through the previous one
//! PROXY  = SCHEME'://'[USER':'PASSWORD'@']HOST':'PORT   socks5, socks5h, http, https; %-escapes in USER and PASSWORD
//! OPTION = 'retry='N | 'warm='N | 'reach='SECONDS | 'handshake='SECONDS
//! ```

mod build;
mod read;

use std::{fmt, str::FromStr, time::Duration};

use super::{rules::Matcher, uplink::Uplink};
use crate::Target;

/// One rule, parsed from its text. [`Rules::from_texts`](crate::Rules::from_texts) makes a dialer of such rules.
///
/// ```
/// # use transport_tcp::RuleText;
/// let rule: RuleText = "suffix=.onion via socks5://127.0.0.1:9050".parse().unwrap();
/// assert_eq!(rule.to_string(), "suffix=.onion via socks5://127.0.0.1:9050");
///
/// let error = "cidr=10.0.0.0/99 direct".parse::<RuleText>().unwrap_err();
/// assert_eq!(error.column(), 6);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RuleText {
    text: String,
    pub(crate) matcher: Matcher,
    pub(crate) action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Refuse,
    /// At least one, in the order in which they are tried.
    Dial(Vec<Route>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// Empty: from wherever the system chooses.
    Direct(Vec<Uplink>),
    Via(Vec<Vec<ProxyText>>, Options),
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ProxyText {
    pub(crate) scheme: Scheme,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) address: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Socks5,
    Http,
    Https,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) retry: Option<u32>,
    pub(crate) warm: Option<usize>,
    pub(crate) reach: Option<Duration>,
    pub(crate) handshake: Option<Duration>,
}

/// The error for a rule that cannot be read: the problem, and the position of the wrong character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    text: String,
    /// In bytes.
    at: usize,
    problem: String,
}

impl RuleError {
    /// The position of the wrong character, counted from 1. If something is missing, the position after the end.
    pub fn column(&self) -> usize {
        self.text[..self.at].chars().count() + 1
    }

    /// The problem, without the text of the rule.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The rule, and a second line with a caret under the wrong character. Passwords are hidden.
    pub fn picture(&self) -> String {
        let (text, column) = (without_passwords(&self.text), self.column());
        format!("  {text}\n  {:>column$}", '^')
    }
}

impl std::error::Error for RuleError {}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, column) = (without_passwords(&self.text), self.column());
        write!(f, "rule '{text}', character {column}: {}", self.problem)
    }
}

/// The text with every character of a password replaced, so that the others stay where they are.
fn without_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(char::is_whitespace) {
        let secret = piece.find("://").and_then(|scheme| {
            let begin = scheme + 3;
            let end = begin + piece[begin..].rfind('@')?;
            let colon = begin + piece[begin..end].find(':')?;
            Some((colon + 1, end))
        });
        match secret {
            None => out.push_str(piece),
            Some((begin, end)) => {
                out.push_str(&piece[..begin]);
                out.extend(piece[begin..end].chars().map(|_| '*'));
                out.push_str(&piece[end..]);
            }
        }
    }
    out
}

impl fmt::Display for RuleText {
    /// As it was written, without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_passwords(&self.text))
    }
}

impl fmt::Debug for RuleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ProxyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.scheme, self.address)
    }
}

impl FromStr for RuleText {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match read::rule(text) {
            Ok((matcher, action)) => Ok(Self {
                text: text.trim().to_owned(),
                matcher,
                action,
            }),
            Err((at, problem)) => Err(RuleError {
                text: text.to_owned(),
                at,
                problem,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
