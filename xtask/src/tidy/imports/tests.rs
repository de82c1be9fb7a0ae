use super::*;

/// A tree of the crate x from the paths below `crates/x/src/` and the texts of its files.
pub(in crate::tidy) fn tree(files: &[(&str, &str)]) -> Vec<Source> {
    let source = |(path, text): &(&str, &str)| Source {
        path: format!("crates/x/src/{path}"),
        text: (*text).to_owned(),
    };
    files.iter().map(source).collect()
}

/// All imports as `from:line to`.
fn imports(files: &[(&str, &str)]) -> Vec<String> {
    let tree = tree(files);
    let crates = crates("crates/x/src/", &tree);
    let shown = |import: Import| {
        format!(
            "{}:{} {}",
            import.from.join("/"),
            import.line,
            import.to.join("/")
        )
    };
    crates
        .iter()
        .flat_map(|one| one.imports())
        .map(shown)
        .collect()
}

#[test]
fn every_way_to_write_an_import_is_read() {
    let text = "use crate::b::B;\nuse crate::{\n    b::{self, X as Y},\n    c::*,\n};\npub(crate) use super::c::C;\nfn f(x: crate::b::B) -> super::c::C { crate::d::e::<u8>() }\nuse std::fmt;\n";
    let found = imports(&[
        ("lib.rs", ""),
        ("a.rs", text),
        ("b.rs", ""),
        ("c.rs", ""),
        ("d/e.rs", ""),
    ]);
    assert_eq!(
        found,
        [
            "a:1 b", "a:3 b", "a:4 c", "a:6 c", "a:7 b", "a:7 c", "a:7 d/e"
        ]
    );
}

#[test]
fn comments_strings_and_tests_import_nothing() {
    let text = "//! [`crate::b::B`]\nconst A: &str = \"crate::b::B\";\n#[cfg(test)]\nuse crate::b::B;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n";
    let b = ("b.rs", "#[cfg(test)]\nmod fixture;\n");
    let fixture = ("b/fixture.rs", "use crate::a::A;\n");
    let tests = ("a/tests.rs", "use crate::b::B;\n");
    assert!(imports(&[("lib.rs", ""), ("a.rs", text), b, fixture, tests]).is_empty());
}

#[test]
fn a_name_of_the_root_leads_to_the_module_it_comes_from() {
    let root = "pub use a::{One, Two as Three};\npub(crate) use self::b::Four;\npub use multiaddr::Multiaddr;\nuse One as Five;\n";
    let text = "use crate::{One, Three, Four, Multiaddr};\ntype X = crate::Five;\n";
    let found = imports(&[("lib.rs", root), ("a.rs", ""), ("b.rs", ""), ("c.rs", text)]);
    assert_eq!(found, ["c:1 a", "c:1 b", "c:2 a"]);
}

#[test]
fn a_module_and_its_children_are_one_but_its_children_are_not() {
    let files = [
        ("lib.rs", ""),
        (
            "a/mod.rs",
            "mod one;\nmod two;\nuse one::X;\nuse self::two::Y;\n",
        ),
        ("a/one.rs", "use super::Z;\nuse super::two::Y;\n"),
        ("a/two.rs", "use crate::a::Z;\n"),
    ];
    assert_eq!(imports(&files), ["a/one:2 a/two"]);
}

#[test]
fn a_program_is_a_crate_of_its_own() {
    let files = [
        ("lib.rs", ""),
        ("cli.rs", ""),
        ("bin/x/main.rs", "mod cli;\n"),
        ("bin/x/cli.rs", ""),
        ("bin/x/up.rs", "use crate::cli::Up;\nuse x::cli;\n"),
    ];
    assert_eq!(imports(&files), ["up:1 cli"]);
}

#[test]
fn a_module_within_a_file_has_the_file_above_it() {
    let text = "mod inner {\n    use super::*;\n    use super::super::b::B;\n    mod deeper { fn f() { if true {} super::super::super::c::C } }\n}\nuse super::b::B;\n";
    let files = [("lib.rs", ""), ("a.rs", text), ("b.rs", ""), ("c.rs", "")];
    assert_eq!(imports(&files), ["a:3 b", "a:4 c", "a:6 b"]);
    let tree = tree(&files);
    assert!(crates("crates/x/src/", &tree)[0].root_globs().is_empty());
}

#[test]
fn a_bound_and_a_macros_own_crate_are_no_imports() {
    let text = "fn f<'a>() -> impl Sized + use<'a> {}\nmacro_rules! m { () => { $crate::b::B } }\nfn g(self) { self.b() }\n";
    assert!(imports(&[("lib.rs", ""), ("a.rs", text), ("b.rs", "")]).is_empty());
}
