//! Paths that people write.

use std::path::PathBuf;

/// The path, with the user's home directory in place of `~`.
///
/// # Errors
///
/// The path begins with another user's `~NAME`, or this user has no home directory. The text of the error continues a sentence that
/// begins with the path.
pub(crate) fn expand(text: &str) -> Result<PathBuf, String> {
    let Some(rest) = text.strip_prefix('~') else {
        return Ok(text.into());
    };
    if !rest.is_empty() && !rest.starts_with('/') {
        let name = rest.split('/').next().unwrap_or(rest);
        return Err(format!(
            "begins with the home directory of the user '{name}', which bowline does not look up: write the whole path"
        ));
    }
    let directories = directories::BaseDirs::new();
    let directories = directories
        .ok_or("begins with ~, but this user has no home directory: write the whole path")?;
    Ok(match rest.strip_prefix('/') {
        Some(below) => directories.home_dir().join(below),
        None => directories.home_dir().to_owned(),
    })
}

/// Reads the path of a flag.
pub(crate) fn flag(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the path is empty".to_owned()),
        _ => expand(text).map_err(|problem| format!("the path {problem}")),
    }
}
