//! Rule: README, docs, the crates' headers and all of `node` are in plain English: they use none of these words.

use super::prose::{self, Token};
use super::{Finding, Source};

/// What not to write, and what to write instead.
///
/// A phrase is a sequence of words. `a|b` is either word, `*` any word, `*x` any word that ends in x, `#` any number, and
/// `!a|b` anything but these words. At the end, `!a|b` and `=a|b` look at what follows the phrase: `=a|b` is one of these words,
/// or no word at all. Only phrases are listed that good prose does not need.
const ODD: &[(&str, &str)] = &[
    ("lest", "so that … not"),
    ("whoever|whomever|whosoever", "anyone who, the peer that"),
    ("whom", "a noun: the peer that …"),
    ("alike", "the same, both"),
    (
        "whence|thereof|therein|thereupon|whereupon|wherein|herein|hereby",
        "a plain word",
    ),
    ("come|comes|came|coming about", "is opened, opens, happens"),
    ("bring|brings|brought|bringing about", "opens, causes"),
    (
        "go|goes|went|going|gone on !the|a|an|its|top",
        "continue, happen",
    ),
    ("is|are|was|were to be", "must be, should be, will be"),
    ("without end", "unlimited"),
    ("other way round|around", "reversed"),
    ("of ours|yours|mine|theirs|hers", "Bowline's, your, their"),
    ("some #", "about"),
    ("sick", "unhealthy"),
    ("is|are|was|were well !*", "healthy"),
    ("beside", "compared with, next to, along with"),
    ("*'s face", "interface"),
    ("shared|common|public face", "interface"),
    ("how|where * stand|stands", "the state of"),
    ("how|where * * stand|stands", "the state of"),
    (
        "how|where it|they|he|one stand|stands|stood",
        "the state of",
    ),
    (
        "stand|stands|stood in|above|before|below|beneath|under !for",
        "is in, is written in, comes before",
    ),
    ("go|goes|went|going|gone around", "bypass"),
    ("would go|goes past", "bypass"),
    ("at hand", "available"),
    ("to and fro", "in both directions"),
    ("object|objects a line !*", "per line"),
    (PER, "per: memory per connection, once per handshake"),
    (PER_OF_A_KIND, "per: memory per idle connection"),
];

/// `memory a connection`, but not `the memory a connection takes`.
const PER: &str = "memory|bytes|kib|mib|gib|kb|once|task|tasks|enum|lock|entries|allocations|operations|transitions a|an connection|peer|operation|handshake|direction|identity|slot|dial|line|stream|circuit|packet|key|command|target|crate|node|subscriber|attempt|address =at|with|over|in|of|on|and|or|from|when|while";

/// `memory an idle connection`.
const PER_OF_A_KIND: &str = "memory|bytes|kib|mib|gib|kb|once|task|tasks|entries|allocations a|an * connection|peer|operation|handshake|slot|dial|stream|circuit =at|with|over|in|of|on|and|or|from|when|while";

/// The crate of which all comments and strings are read.
const READ_WHOLE: &str = "crates/node/src/";

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let Some(tokens) = prose(source) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for at in 0..tokens.len() {
        for (phrase, instead) in ODD {
            let Some(length) = matched(phrase, &tokens[at..]) else {
                continue;
            };
            let words: Vec<&str> = tokens[at..at + length]
                .iter()
                .map(|token| token.1.as_str())
                .collect();
            let message = format!(
                "write plain English: not \"{}\", but: {instead}",
                words.join(" ")
            );
            findings.push(Finding::at(source, tokens[at].0, message));
        }
    }
    findings
}

/// What the rule reads of a file.
fn prose(source: &Source) -> Option<Vec<Token>> {
    let path = source.path.as_str();
    let in_crate = path
        .strip_prefix("crates/")
        .and_then(|path| path.split_once('/'));
    let is_markdown = path.ends_with(".md");
    if path == "README.md" || path.starts_with("docs/") && is_markdown {
        return Some(prose::of_markdown(&source.text));
    }
    match in_crate?.1 {
        "README.md" => Some(prose::of_markdown(&source.text)),
        _ if path.starts_with(READ_WHOLE) && path.ends_with(".rs") => {
            Some(prose::of_rust(&source.text, false))
        }
        "src/lib.rs" => Some(prose::of_rust(&source.text, true)),
        _ => None,
    }
}

/// How many tokens a phrase takes at the beginning of these, if they begin with it. What follows the phrase is not counted.
fn matched(phrase: &str, tokens: &[Token]) -> Option<usize> {
    let mut length = 0;
    for (pattern, (_, token)) in phrase.split(' ').zip(tokens) {
        let fits_any = |patterns: &str| patterns.split('|').any(|pattern| fits(pattern, token));
        if let Some(excluded) = pattern.strip_prefix('!') {
            return (!fits_any(excluded)).then_some(length);
        }
        if let Some(following) = pattern.strip_prefix('=') {
            return (!is_word(token) || fits_any(following)).then_some(length);
        }
        if !fits_any(pattern) {
            return None;
        }
        length += 1;
    }
    // The text may have ended before the phrase.
    (length == phrase.split(' ').count()).then_some(length)
}

fn fits(pattern: &str, token: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => is_word(token) && token.ends_with(end),
        None if pattern == "#" => token.starts_with(|char: char| char.is_ascii_digit()),
        None => pattern == token,
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let findings = check(&Source {
            path: path.to_owned(),
            text: text.to_owned(),
        });
        findings
            .into_iter()
            .map(|finding| finding.to_string())
            .collect()
    }

    fn count(text: &str) -> usize {
        found("README.md", text).len()
    }

    #[test]
    fn odd_words_are_found_with_their_line_and_what_to_write() {
        assert_eq!(
            found("docs/A.md", "Fine.\nIt waits, lest it fail.\n"),
            ["docs/A.md:2: write plain English: not \"lest\", but: so that … not"]
        );
        for odd in [
            "Whoever asks",
            "how it comes\nabout",
            "It goes on being counted.",
            "what is to be closed",
            "the other way round",
            "a crate of ours",
            "some 12 KiB",
            "which of several ways is well",
            "| is well |",
            "memory beside others",
            "the binary's face",
            "how the peers stand",
            "what stands in the file",
            "it would go around the proxy",
            "memory a connection",
            "12 KiB a connection at the server",
            "the bytes an idle connection",
            "once a handshake.",
            "one enum an operation",
        ] {
            assert_eq!(count(odd), 1, "{odd}");
        }
    }

    #[test]
    fn good_prose_and_code_pass() {
        for plain in [
            "a connection, a peer and a slot",
            "the peer a connection belongs to",
            "what goes on the wire",
            "a name that stands for several addresses",
            "the names are well known",
            "`lest`",
            "```\nlest\n```",
            "memory per idle connection",
            "three times a second",
            "It goes.\n\nOn the other side",
            "the task: a connection",
            "the bytes an idle connection holds",
            "once a relayed connection is replaced",
            "once a connection is open",
        ] {
            assert_eq!(count(plain), 0, "{plain}");
        }
    }

    #[test]
    fn a_leafs_header_and_all_of_the_node_are_read() {
        let text = "//! One.\n\n/// Lest.\nfn lest() { f(\"lest\") }\n";
        assert_eq!(found("crates/node/src/a.rs", text).len(), 2);
        assert_eq!(found("crates/a/src/lib.rs", text).len(), 0);
        assert_eq!(found("crates/a/src/lib.rs", "//! Lest.\n").len(), 1);
        assert_eq!(found("crates/a/src/b.rs", "//! Lest.\n").len(), 0);
        assert_eq!(found("crates/a/README.md", "Lest.\n").len(), 1);
        assert_eq!(found("CHANGELOG.md", "Lest.\n").len(), 0);
    }
}
