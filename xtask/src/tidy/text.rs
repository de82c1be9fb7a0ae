//! Rules about any text: no paths of somebody's machine.

use super::{Finding, Source};

/// How the path of a home folder begins, in two parts each so that this file has none of them.
const HOMES: [&str; 3] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().zip(1..);
    let marked = lines.filter_map(|(text, line)| {
        let home = HOMES.iter().find(|home| names_path(text, home))?;
        Some(Finding::at(
            source,
            line,
            format!("a path below {home} exists on one machine only"),
        ))
    });
    marked.collect()
}

/// Whether the text has an absolute path that begins so: the middle of a longer path or of an address does not count.
fn names_path(text: &str, home: &str) -> bool {
    text.match_indices(home).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-$}".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_folder_is_found_and_the_middle_of_a_path_is_not() {
        for home in HOMES {
            let of_line = |text: String| {
                check(&Source {
                    path: "a.md".to_owned(),
                    text,
                })
                .len()
            };
            assert_eq!(of_line(format!("see {home}somebody/x")), 1);
            assert_eq!(of_line(format!("PATH={home}somebody/x")), 1);
            assert_eq!(of_line(format!("example.org{home}page")), 0);
        }
    }
}
