//! The parts of docs/ARCHITECTURE.md that rules are read from.

use super::Source;

/// The file that the rules are read from.
pub(super) const PATH: &str = "docs/ARCHITECTURE.md";

/// A line of the document, with its number.
pub(super) type Line<'a> = (usize, &'a str);

/// The document in the tree.
pub(super) fn of(tree: &[Source]) -> Option<&Source> {
    tree.iter().find(|source| source.path == PATH)
}

/// The lines below a heading, up to the next heading of the same or a higher level.
pub(super) fn section<'a>(text: &'a str, heading: &str) -> Option<Vec<Line<'a>>> {
    let mut lines = (1..).zip(text.lines());
    let level = lines.find_map(|(_, line)| {
        let (level, title) = heading_of(line)?;
        (title == heading).then_some(level)
    })?;
    let mut in_block = false;
    let below = lines.take_while(|(_, line)| {
        in_block ^= line.starts_with("```");
        in_block || heading_of(line).is_none_or(|(other, _)| other > level)
    });
    Some(below.collect())
}

/// The lines of the first code block.
pub(super) fn block<'a>(lines: &[Line<'a>]) -> Vec<Line<'a>> {
    let fence = |line: &&Line<'_>| line.1.starts_with("```");
    let mut rest = lines.iter().skip_while(|line| !fence(line));
    rest.next();
    rest.take_while(|line| !fence(line)).copied().collect()
}

fn heading_of(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    Some((level, title.strip_prefix(' ')?.trim())).filter(|_| level > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# A\n\n## B\n\n```text\n# no heading\n```\n\n### C\n\nmore\n\n## D\n\nelse\n";

    #[test]
    fn a_section_goes_to_the_next_heading_of_its_level() {
        let section = section(TEXT, "B").unwrap();
        assert_eq!((section[0].0, section.last().unwrap().0), (4, 12));
        assert_eq!(super::section(TEXT, "E"), None);
    }

    #[test]
    fn the_first_block_of_a_section_is_read() {
        assert_eq!(block(&section(TEXT, "B").unwrap()), [(6, "# no heading")]);
        assert_eq!(block(&section(TEXT, "D").unwrap()), []);
    }
}
