use super::*;

const TABLE: &str = "floor  file                holds
  4    bin/x/              the program,
                           with its commands
  3    parts/*             one part per file
       admin.rs            an endpoint
  2    node.rs   core.rs   two files │ and more
  1    dial.rs (+plan, resolve)   one module
       transport/{tcp,quic}.rs    two files
  0    protocols/          a folder
       error.rs
";

const FILES: [&str; 13] = [
    "bin/x/main.rs",
    "bin/x/cli.rs",
    "parts/ping.rs",
    "parts/relay/mod.rs",
    "admin.rs",
    "node.rs",
    "core.rs",
    "dial.rs",
    "dial/plan.rs",
    "resolve.rs",
    "transport/tcp.rs",
    "protocols/ping/wire.rs",
    "error.rs",
];

/// The findings about a crate with `imports` in the file `path`, by their messages.
fn findings(path: &str, imports: &str) -> Vec<(String, String)> {
    let mut tree: Vec<Source> = Vec::new();
    let mut add = |path: String, text: &str| {
        tree.push(Source {
            path,
            text: text.to_owned(),
        });
    };
    add(
        document::PATH.to_owned(),
        &format!("## {HEADING}\n\n```text\n{TABLE}```\n"),
    );
    add(format!("{FOLDER}lib.rs"), "pub use node::Node;\n");
    add(format!("{FOLDER}transport/quic.rs"), "");
    add(format!("{FOLDER}protocols/mod.rs"), "");
    for file in FILES {
        if file != path {
            add(format!("{FOLDER}{file}"), "");
        }
    }
    add(format!("{FOLDER}{path}"), imports);
    let findings = check(&tree, &["conn_state".to_owned()]);
    findings
        .into_iter()
        .map(|finding| (finding.place, finding.message))
        .collect()
}

fn is_clean(path: &str, imports: &str) -> bool {
    findings(path, imports).is_empty()
}

#[test]
fn an_import_from_a_lower_floor_is_allowed() {
    assert!(is_clean(
        "core.rs",
        "use crate::{dial::Dial, error::Error};\nuse crate::protocols::ping::wire::Ping;\n"
    ));
    assert!(is_clean("parts/ping.rs", "use crate::Node;\n"));
    assert!(is_clean(
        "bin/x/main.rs",
        "use node::{Node, conn_state::Policy};\n"
    ));
}

#[test]
fn an_import_from_a_higher_floor_is_found_with_its_line() {
    let found = findings("error.rs", "use std::fmt;\nuse crate::core::Core;\n");
    let message = "imports core.rs on floor 2, but this file is on floor 0 and imports from lower floors only";
    assert_eq!(
        found,
        [("crates/node/src/error.rs:2".to_owned(), message.to_owned())]
    );
    assert!(!is_clean("error.rs", "fn f(_: crate::core::Core) {}\n"));
    assert!(!is_clean(
        "protocols/ping/wire.rs",
        "use super::super::super::dial::Dial;\n"
    ));
}

#[test]
fn a_name_of_the_root_has_the_floor_of_its_module() {
    assert!(!is_clean("dial/plan.rs", "use crate::Node;\n"));
    assert!(is_clean("dial/plan.rs", "#[cfg(test)]\nuse crate::Node;\n"));
}

#[test]
fn files_of_one_floor_import_each_other_within_a_module_only() {
    assert!(is_clean(
        "dial.rs",
        "use crate::resolve::R;\nuse plan::P;\n"
    ));
    assert!(is_clean("resolve.rs", "use crate::dial::plan::P;\n"));
    assert!(is_clean(
        "bin/x/main.rs",
        "mod cli;\nuse crate::cli::Cli;\n"
    ));
    assert!(!is_clean("node.rs", "use crate::core::Core;\n"));
    assert!(!is_clean("transport/tcp.rs", "use super::quic::Q;\n"));
    assert!(!is_clean("parts/ping.rs", "use super::relay::R;\n"));
    assert!(!is_clean("admin.rs", "use crate::parts::ping::P;\n"));
}

#[test]
fn a_file_without_a_floor_is_found() {
    let found = findings("extra.rs", "");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "crates/node/src/extra.rs");
    assert!(is_clean("dial/extra.rs", "use super::plan::P;\n"));
}

#[test]
fn a_row_without_a_file_is_found() {
    let found = findings("protocols/other.rs", "");
    assert_eq!(found, []);
    let (entries, _) = entries(&[(3, " 1 gone.rs (+also)  prose")]);
    assert_eq!(entries.len(), 2);
    assert_eq!(place(&["gone".to_owned()], &entries).unwrap().0, 0);
    assert_eq!(place(&["also".to_owned()], &entries).unwrap().0, 1);
    assert_eq!(place(&["else".to_owned()], &entries), None);
}

#[test]
fn a_program_has_the_leaves_through_the_node_only() {
    assert!(!is_clean("bin/x/cli.rs", "use conn_state::Policy;\n"));
}

#[test]
fn a_missing_table_is_found() {
    let tree = [Source {
        path: format!("{FOLDER}lib.rs"),
        text: String::new(),
    }];
    assert_eq!(check(&tree, &[]).len(), 1);
    assert_eq!(check(&[], &[]), []);
}
