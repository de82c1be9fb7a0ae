//! The forms in which people write a setting: a TOML value, a quoted value, or the text of a variable.

use std::{fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny},
};

use super::paths;

/// One value. An empty text counts as a missing setting. Quotes around a number or a switch have no meaning.
#[derive(Debug)]
pub(crate) struct Setting<T>(pub(crate) Option<T>);

/// A list, or one text that holds the items with `SEPARATOR` between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct List<const SEPARATOR: char>(pub(crate) Vec<String>);

/// A type of a setting.
pub(crate) trait Form: Sized {
    /// The kind of value, for an error.
    const WANTED: &'static str;

    /// Reads a text that is not empty.
    fn read(text: &str) -> Option<Self>;

    /// The problem of a text that cannot be read. It continues a sentence that begins with the text.
    fn problem(_text: &str) -> String {
        format!("is not {}", Self::WANTED)
    }
}

impl<T: Form> Setting<T> {
    /// Reads the text of a variable or of the file.
    ///
    /// # Errors
    ///
    /// The text, and what is wrong with it.
    pub(crate) fn of(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(Self(None)),
            trimmed => T::read(trimmed)
                .map(|value| Self(Some(value)))
                .ok_or_else(|| format!("'{text}' {}", T::problem(trimmed))),
        }
    }
}

impl<T> Default for Setting<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Form> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(from)?;
        let wrong = || D::Error::custom(format!("{raw} is not {}", T::WANTED));
        let text = raw.text().ok_or_else(wrong)?;
        Self::of(&text).map_err(D::Error::custom)
    }
}

impl<'de, const SEPARATOR: char> Deserialize<'de> for List<SEPARATOR> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(from)?;
        let wrong = |raw: &Raw| D::Error::custom(format!("{raw} is not a text or a list of texts"));
        let items = match &raw {
            Raw::Many(items) => {
                let texts = items.iter().map(|item| match item {
                    Raw::Text(text) => Ok(text.as_str()),
                    other => Err(wrong(other)),
                });
                texts.collect::<Result<Vec<_>, _>>()?
            }
            Raw::Text(text) => split(text, SEPARATOR),
            other => return Err(wrong(other)),
        };
        let items = items.into_iter().map(str::trim);
        Ok(Self(
            items
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect(),
        ))
    }
}

/// The items of a text such as `a,b` or `["a", "b"]`.
fn split(text: &str, separator: char) -> Vec<&str> {
    let text = text.trim();
    match text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        None => text.split(separator).collect(),
        Some(inside) => {
            let items = inside.split(separator).map(str::trim);
            items.map(|item| item.trim_matches(['"', '\''])).collect()
        }
    }
}

/// A value whose type is not checked yet.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Raw {
    Bool(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    Many(Vec<Raw>),
    Other(IgnoredAny),
}

impl Raw {
    /// The text of a single value.
    fn text(&self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(value.to_string()),
            Self::Whole(value) => Some(value.to_string()),
            Self::Number(value) => Some(value.to_string()),
            Self::Text(text) => Some(text.clone()),
            Self::Many(_) | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => write!(f, "'{text}'"),
            None if matches!(self, Self::Many(_)) => f.write_str("a list"),
            None => f.write_str("a table"),
        }
    }
}

impl Form for String {
    const WANTED: &'static str = "a text";

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Form for PathBuf {
    const WANTED: &'static str = "a path";

    fn read(text: &str) -> Option<Self> {
        paths::expand(text).ok()
    }

    fn problem(text: &str) -> String {
        paths::expand(text).err().unwrap_or_default()
    }
}

impl Form for bool {
    const WANTED: &'static str = "true or false";

    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }
}

impl Form for usize {
    const WANTED: &'static str = "a whole number, 0 or more";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Form for NonZeroUsize {
    const WANTED: &'static str = "a whole number, 1 or more";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Form for u32 {
    const WANTED: &'static str = "a whole number from 0 to 4294967295";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Form for f64 {
    const WANTED: &'static str = "a number (0 or more, without a unit)";

    fn read(text: &str) -> Option<Self> {
        let number = text.parse::<Self>().ok();
        number.filter(|number| number.is_finite() && *number >= 0.0)
    }
}

impl Form for SocketAddr {
    const WANTED: &'static str = "an IP address with a port, such as 127.0.0.1:4078";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
