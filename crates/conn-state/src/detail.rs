//! Text from other hosts, made safe to store and to print.

use std::{
    fmt::{self, Write},
    ops::Deref,
    sync::Arc,
};

/// The mark at the end of a text that was cut.
const CUT: char = '…';

/// A text of at most [`Detail::MAX`] bytes that prints as one line.
///
/// A peer may control such a text, for example the reason with which it closes a connection. Every `Detail` is cut and
/// escaped, so it is safe to store, log and print.
///
/// ```
/// use conn_state::Detail;
///
/// assert_eq!(Detail::new("closed:\n\u{1b}[2J"), "closed:\\n\\u{1b}[2J");
/// assert!(Detail::new("x".repeat(1_000)).len() <= Detail::MAX);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Detail(Arc<str>);

impl Detail {
    /// The maximum length in bytes, after escaping. A longer text ends in `…`.
    pub const MAX: usize = 128;

    /// Escapes `text` like [`Escaped`] and cuts it. Formats no more of the text than fits.
    pub fn new(text: impl fmt::Display) -> Self {
        let mut cut = Cutter::default();
        // An error means only that the rest does not fit.
        let _ = write!(cut, "{text}");
        Self(cut.finish().into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Detail {
    fn default() -> Self {
        Self("".into())
    }
}

impl Deref for Detail {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl PartialEq<str> for Detail {
    fn eq(&self, text: &str) -> bool {
        *self.0 == *text
    }
}

impl PartialEq<&str> for Detail {
    fn eq(&self, text: &&str) -> bool {
        *self.0 == **text
    }
}

/// Prints a value on one line, of any length. Each character that is not printable becomes a visible escape: control
/// characters such as ESC, line breaks, and characters that change the direction of the text.
///
/// ```
/// use conn_state::Escaped;
///
/// assert_eq!(Escaped("a\nb \u{202e}c").to_string(), "a\\nb \\u{202e}c");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Escaped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(f), "{}", self.0)
    }
}

/// Whether [`Escaped`] prints `text` unchanged.
pub fn is_plain(text: &str) -> bool {
    text.chars()
        .all(|c| is_quote(c) || c.escape_debug().len() == 1)
}

/// `escape_debug` also escapes quotes and backslashes. A detail is not a string literal and keeps them.
fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\')
}

fn escape(c: char, out: &mut impl Write) -> fmt::Result {
    match is_quote(c) {
        true => out.write_char(c),
        false => c.escape_debug().try_for_each(|c| out.write_char(c)),
    }
}

struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| escape(c, self.0))
    }
}

/// Collects the text that fits.
#[derive(Default)]
struct Cutter {
    kept: String,
    /// The length of the text that can be kept if the mark follows it.
    room_for_mark: usize,
    is_cut: bool,
}

impl Write for Cutter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let before = self.kept.len();
            escape(c, &mut self.kept)?;
            if self.kept.len() > Detail::MAX {
                self.kept.truncate(before);
                self.is_cut = true;
                return Err(fmt::Error);
            }
            if self.kept.len() + CUT.len_utf8() <= Detail::MAX {
                self.room_for_mark = self.kept.len();
            }
        }
        Ok(())
    }
}

impl Cutter {
    fn finish(mut self) -> String {
        if self.is_cut {
            self.kept.truncate(self.room_for_mark);
            self.kept.push(CUT);
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_moves_a_cursor_breaks_a_line_or_turns_the_text_becomes_visible() {
        for (raw, shown) in [
            ("\u{1b}[31m", "\\u{1b}[31m"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\0\u{1}\u{7f}", "\\0\\u{1}\\u{7f}"),
            ("a\r\n\tb", "a\\r\\n\\tb"),
            ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
        ] {
            assert_eq!(Detail::new(raw), shown);
            assert!(!is_plain(raw));
        }
        for c in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            let shown = format!("\\u{{{:x}}}", u32::from(c));
            assert_eq!(Detail::new(c), *shown);
            assert!(!is_plain(&c.to_string()));
        }
    }

    #[test]
    fn what_is_printable_stays_as_it_is() {
        for text in ["", "go-libp2p/0.47", "it's \"fine\" \\o/", "grüße 漢字 🦀"] {
            assert_eq!(Detail::new(text), text);
            assert!(is_plain(text));
        }
    }

    #[test]
    fn a_text_of_128_bytes_is_kept_and_one_of_129_ends_in_an_ellipsis() {
        let whole = "x".repeat(128);
        assert_eq!(Detail::new(&whole), *whole);
        let cut = Detail::new("x".repeat(129));
        assert_eq!(cut, *format!("{}…", "x".repeat(125)));
        assert_eq!(cut.len(), Detail::MAX);
    }

    #[test]
    fn the_cut_counts_the_escaped_form_and_splits_no_escape() {
        let cut = Detail::new("\u{1}".repeat(1_080));
        assert_eq!(cut, *format!("{}…", "\\u{1}".repeat(25)));
    }

    #[test]
    fn no_more_of_a_text_is_read_than_fits() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("on and on ")?;
                }
            }
        }
        assert!(Detail::new(Endless).ends_with('…'));
    }

    proptest! {
        #[test]
        fn a_detail_is_short_plain_and_stays_the_same_when_made_again(text in ".{0,200}") {
            let detail = Detail::new(&text);
            prop_assert!(detail.len() <= Detail::MAX);
            prop_assert!(is_plain(&detail));
            prop_assert_eq!(Detail::new(&detail), detail);
            prop_assert!(is_plain(&Escaped(&text).to_string()));
        }
    }
}
