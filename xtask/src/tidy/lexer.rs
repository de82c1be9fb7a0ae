//! Splits Rust source into code, comments and strings, as far as the rules need it.

/// What a part of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    Comment,
    /// The inside of a string, between its quotes.
    Text,
}

/// A part of a file that is all of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// The number of the line on which it starts.
    pub(super) line: usize,
}

/// Gives all parts of a file in order. Every byte of the file is in one of them, except characters in single quotes: these
/// belong to the code, whatever they are.
pub(super) fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut lexer = Lexer {
        source,
        at: 0,
        start: 0,
        line: 1,
        pieces: Vec::new(),
    };
    lexer.run();
    lexer.pieces
}

/// The file with every comment and every string's inside replaced by spaces. Lines stay where they are.
pub(super) fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    for piece in pieces(source) {
        if piece.kind == Kind::Code {
            code.push_str(piece.text);
        } else {
            code.extend(piece.text.chars().map(blank));
        }
    }
    code
}

/// Replaces items under `#[cfg(test)]` by spaces, in the result of [`code`]. Also gives the names of the modules that such an
/// item declares in another file.
pub(super) fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut modules) = (String::with_capacity(code.len()), Vec::new());
    let mut rest = code;
    while let Some(at) = ["#[cfg(test)]", "#[cfg(all(test"]
        .iter()
        .filter_map(|attribute| rest.find(attribute))
        .min()
    {
        kept.push_str(&rest[..at]);
        let item = &rest[at..at + item_length(&rest[at..])];
        modules.extend(declared_module(item));
        kept.extend(item.chars().map(blank));
        rest = &rest[at + item.len()..];
    }
    kept.push_str(rest);
    (kept, modules)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    /// Where the part begins that is being read.
    start: usize,
    /// The line of that beginning.
    line: usize,
    pieces: Vec<Piece<'a>>,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while self.at < self.source.len() {
            let rest = &self.source[self.at..];
            if rest.starts_with("//") {
                self.end(Kind::Code);
                self.at += rest.find('\n').unwrap_or(rest.len());
                self.end(Kind::Comment);
            } else if rest.starts_with("/*") {
                self.end(Kind::Code);
                self.at += block_comment(rest);
                self.end(Kind::Comment);
            } else if rest.starts_with('"') {
                let hashes = self.raw_hashes();
                self.at += 1;
                self.end(Kind::Code);
                self.at += string(&self.source[self.at..], hashes);
                self.end(Kind::Text);
                self.at = (self.at + 1).min(self.source.len());
            } else if rest.starts_with('\'') {
                self.at += quote(rest);
            } else {
                self.at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        self.end(Kind::Code);
    }

    /// Ends the part that is being read.
    fn end(&mut self, kind: Kind) {
        let text = &self.source[self.start..self.at];
        if !text.is_empty() {
            let line = self.line;
            self.pieces.push(Piece { kind, text, line });
            self.line += text.matches('\n').count();
            self.start = self.at;
        }
    }

    /// How many `#` a raw string has in front of its quote, at which the lexer is; nothing for another string.
    fn raw_hashes(&self) -> Option<usize> {
        let before = &self.source[self.start..self.at];
        let prefix = before.trim_end_matches('#');
        let is_raw = ["r", "br", "cr"].iter().any(|raw| {
            prefix.strip_suffix(raw).is_some_and(|before| {
                !before.ends_with(|last: char| last.is_alphanumeric() || last == '_')
            })
        });
        is_raw.then_some(before.len() - prefix.len())
    }
}

/// The length of a block comment, which may contain others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a string's inside.
fn string(text: &str, raw_hashes: Option<usize>) -> usize {
    if let Some(hashes) = raw_hashes {
        let end = format!("\"{}", "#".repeat(hashes));
        return text.find(&end).unwrap_or(text.len());
    }
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character in single quotes, or of a lifetime's quote.
fn quote(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let after = at + escaped.len_utf8();
            after + text[after..].find('\'').map_or(0, |end| end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// The length of an item with the attributes in front of it.
fn item_length(text: &str) -> usize {
    let mut body = text;
    while body.starts_with("#[") {
        let end = body.find("]").map_or(body.len(), |end| end + 1);
        body = body[end..].trim_start();
    }
    let attributes = text.len() - body.len();
    // The braces of an import are followed by a semicolon, those of other items end them.
    let head = words(body).find(|word| !matches!(*word, "pub" | "crate" | "super" | "in"));
    let is_import = head == Some("use");
    let mut depth = 0;
    for (at, char) in body.char_indices() {
        match char {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (char == ';' || char == '}' && !is_import) {
            return attributes + at + 1;
        }
    }
    text.len()
}

/// The module in another file that an item declares.
fn declared_module(item: &str) -> Option<String> {
    let item = item.strip_suffix(';')?;
    let mut words = words(&item[item.rfind(']')?..]).skip_while(|word| *word != "mod");
    words.nth(1).map(str::to_owned)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|char: char| !char.is_alphanumeric() && char != '_');
    words.filter(|word| !word.is_empty())
}

fn blank(char: char) -> char {
    if char == '\n' { '\n' } else { ' ' }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str, kind: Kind) -> Vec<(usize, &str)> {
        let pieces = pieces(source).into_iter();
        pieces
            .filter(|piece| piece.kind == kind)
            .map(|piece| (piece.line, piece.text))
            .collect()
    }

    #[test]
    fn comments_and_strings_are_told_from_code() {
        let source = "a // one \"x\"\nb /* two /* in */ */ c \"three // x\\\"\" d\n";
        assert_eq!(
            texts(source, Kind::Comment),
            [(1, "// one \"x\""), (2, "/* two /* in */ */")]
        );
        assert_eq!(texts(source, Kind::Text), [(2, "three // x\\\"")]);
        let code = code(source);
        assert_eq!(
            code.split_whitespace().collect::<Vec<_>>(),
            ["a", "b", "c", "\"", "\"", "d"]
        );
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn raw_strings_and_quoted_characters_are_read_to_their_end() {
        let source = "r#\"a \" // b\"# '\"' '\\'' 'a: &'a str br\"\\\" // c\n";
        assert_eq!(texts(source, Kind::Text), [(1, "a \" // b"), (1, "\\")]);
        assert_eq!(texts(source, Kind::Comment), [(1, "// c")]);
    }

    #[test]
    fn items_of_tests_are_removed_and_what_follows_stays() {
        let source = "#[cfg(test)]\nuse a::{b, c};\nkept!();\n#[cfg(test)]\nmod fixtures;\n#[cfg(test)]\n#[allow(x)]\nmod tests { use d; fn f(a: [u8; 3]) {} }\nfn also_kept() {}\n#[cfg(not(test))]\nfn third() {}\n";
        let (code, modules) = without_tests(source);
        let kept: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(
            kept.join(" "),
            "kept!(); fn also_kept() {} #[cfg(not(test))] fn third() {}"
        );
        assert_eq!(modules, ["fixtures"]);
        assert_eq!(code.lines().count(), source.lines().count());
    }
}
