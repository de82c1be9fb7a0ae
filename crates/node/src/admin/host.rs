//! The host names that a request over TCP may name.

use std::{fmt, net::IpAddr, str::FromStr};

/// The maximum lengths of a name and of one of its labels, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host name that a client may use for the admin endpoint over TCP. Names that differ only in case or in a final dot are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

/// An error of [`HostName::from_str`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a host name: {problem}")]
pub struct HostNameError {
    text: String,
    problem: &'static str,
}

impl HostName {
    /// Whether `name` equals this name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.0
            .eq_ignore_ascii_case(name.strip_suffix('.').unwrap_or(name))
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        match problem(text) {
            None => {
                let name = text.strip_suffix('.').unwrap_or(text);
                Ok(Self(name.to_ascii_lowercase()))
            }
            Some(problem) => Err(HostNameError {
                text: text.to_owned(),
                problem,
            }),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn problem(text: &str) -> Option<&'static str> {
    if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Some("remove the address, because every IP address is allowed anyway");
    }
    if text.contains("://") {
        return Some("write only the name, such as node.example");
    }
    if text.contains(':') {
        return Some("remove the port");
    }
    if text.contains('*') {
        return Some("wildcards are not supported; write each name");
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Some("the name is empty");
    }
    let is_label = |label: &str| {
        // Names of services often contain an underscore.
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(is_part)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > MAX_NAME || !name.split('.').all(is_label) {
        return Some(
            "a name has at most 253 letters, digits, hyphens and underscores, in labels of at most 63 that dots separate",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_any_case_and_with_a_final_dot() {
        let name: HostName = "Bowline-1.my_stack.Internal.".parse().unwrap();
        assert_eq!(name.to_string(), "bowline-1.my_stack.internal");
        assert!(name.is("BOWLINE-1.my_stack.internal") && name.is("bowline-1.my_stack.internal."));
        for other in [
            "bowline-1.my_stack",
            "bowline-1.my_stack.internal..",
            "",
            "x.bowline-1.my_stack.internal",
        ] {
            assert!(!name.is(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_a_reason() {
        let long_label = "x".repeat(MAX_LABEL + 1);
        let long_name = ["x".repeat(MAX_LABEL).as_str(); 4].join(".");
        for (text, part) in [
            ("127.0.0.1", "every IP address"),
            ("[::1]", "every IP address"),
            ("::1", "every IP address"),
            ("http://node.example", "only the name"),
            ("node.example:9090", "remove the port"),
            ("*.example", "wildcards"),
            ("", "empty"),
            (".", "empty"),
            ("a..b", "labels"),
            ("-a.example", "labels"),
            ("a-.example", "labels"),
            ("node example", "labels"),
            ("n\u{f6}de.example", "labels"),
            (&long_label, "labels"),
            (&long_name, "labels"),
        ] {
            let error = text.parse::<HostName>().unwrap_err().to_string();
            assert!(
                error.contains(part) && error.contains(text),
                "{text}: {error}"
            );
        }
        assert!(long_label[1..].parse::<HostName>().is_ok());
        assert!(long_name[2..].parse::<HostName>().is_ok());
    }
}
