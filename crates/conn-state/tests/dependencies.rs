//! The crate stays small for whoever takes it alone.

/// Crates of its own choosing, without the feature `tokio`.
const AT_MOST: usize = 5;

#[test]
fn without_its_features_it_depends_on_no_more_than_five_crates() {
    let manifest = include_str!("../Cargo.toml");
    let (mut section, mut chosen) = ("", Vec::new());
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
            let is_known = ["[dependencies]", "[dev-dependencies]"].contains(&section);
            assert!(
                is_known || !section.contains("dependencies"),
                "{section} is not counted"
            );
        } else if section == "[dependencies]" && !line.is_empty() && !line.starts_with('#') {
            chosen.extend((!line.contains("optional = true")).then_some(line));
        }
    }
    assert!(chosen.len() <= AT_MOST, "{chosen:?}");
    assert!(
        chosen.iter().any(|line| line.starts_with("thiserror")),
        "{chosen:?}"
    );
}
