//! The sentences of a file: a Markdown file's text, or a Rust file's comments and strings. Code is left out.

use super::lexer::{self, Kind};

/// A word in lower case or a single other character, with its line. `\n` is the end of a paragraph.
pub(super) type Token = (usize, String);

/// In place of code within a sentence.
const CODE: &str = "`";

/// The end of a paragraph.
const END: &str = "\n";

/// The sentences of a Markdown file.
pub(super) fn of_markdown(text: &str) -> Vec<Token> {
    tokens((1..).zip(text.lines()))
}

/// The sentences of a Rust file's comments and strings; with `header_only`, those of the comment on the file itself.
pub(super) fn of_rust(text: &str, header_only: bool) -> Vec<Token> {
    let mut found = Vec::new();
    let mut comment: Vec<(usize, &str)> = Vec::new();
    for piece in lexer::pieces(text) {
        match piece.kind {
            Kind::Comment if header_only && !piece.text.starts_with("//!") => {}
            Kind::Comment => comment.extend((piece.line..).zip(piece.text.lines().map(inside))),
            // Nothing but space between two lines of a comment.
            Kind::Code if piece.text.trim().is_empty() && piece.text.matches('\n').count() < 2 => {}
            kind => {
                found.extend(tokens(comment.drain(..)));
                if kind == Kind::Text && !header_only {
                    found.extend(tokens((piece.line..).zip(piece.text.lines())));
                }
            }
        }
    }
    found.extend(tokens(comment.drain(..)));
    found
}

/// A line of a comment without its mark.
fn inside(line: &str) -> &str {
    let line = line.trim_start();
    ["//!", "///", "//", "/*", "*"]
        .iter()
        .find_map(|mark| line.strip_prefix(mark))
        .unwrap_or(line)
}

/// The tokens of lines, without code, and with an end behind the last.
fn tokens<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut in_block, mut in_code, mut last) = (false, false, 0);
    for (number, line) in lines {
        last = number;
        let line = line.trim_end_matches('\\');
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            tokens.push((number, END.to_owned()));
        } else if !in_block {
            if line.trim().is_empty() {
                tokens.push((number, END.to_owned()));
                in_code = false;
            }
            in_code = tokens_of_line(number, line, in_code, &mut tokens);
        }
    }
    if last > 0 {
        tokens.push((last, END.to_owned()));
    }
    tokens
}

/// Adds a line's tokens. `in_code` is whether it begins within backticks; gives whether it ends so.
fn tokens_of_line(number: usize, line: &str, mut in_code: bool, tokens: &mut Vec<Token>) -> bool {
    let is_word = |char: char| char.is_alphanumeric() || char == '\'' || char == '’';
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if in_code || !is_word(first) {
            first.len_utf8()
        } else {
            rest.find(|char| !is_word(char)).unwrap_or(rest.len())
        };
        if first == '`' {
            in_code = !in_code;
            if !in_code {
                tokens.push((number, CODE.to_owned()));
            }
        } else if !in_code && !first.is_whitespace() {
            let token = rest[..length].trim_matches('\'').to_lowercase();
            tokens.push((number, token));
        }
        rest = &rest[length..];
    }
    in_code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(tokens: Vec<Token>) -> String {
        let words: Vec<String> = tokens.into_iter().map(|token| token.1).collect();
        words.join(" ")
    }

    #[test]
    fn code_in_markdown_is_left_out() {
        let text = "One `two` three.\nIt's `four\nfive` six\n\n```text\nseven\n```\n";
        assert_eq!(
            joined(of_markdown(text)),
            "one ` three . it's ` six \n \n \n \n"
        );
    }

    #[test]
    fn a_rust_file_speaks_in_comments_and_strings() {
        let text = "//! One\n//! two `x`.\n\nfn three() {\n    // Four\n    let _ = \"five six\";\n}\n/// ```\n/// seven\n/// ```\nstruct Eight;\n";
        assert_eq!(
            joined(of_rust(text, false)),
            "one two ` . \n four \n five six \n \n \n \n"
        );
        assert_eq!(joined(of_rust(text, true)), "one two ` . \n");
    }

    #[test]
    fn each_token_has_its_line() {
        let tokens = of_rust("\n/// One\n/// two\nfn f() {}\n", false);
        assert_eq!(tokens[..2], [(2, "one".to_owned()), (3, "two".to_owned())]);
    }
}
