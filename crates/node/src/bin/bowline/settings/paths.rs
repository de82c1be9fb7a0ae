//! Paths that people write.

use std::path::PathBuf;

/// The path, with the user's home directory in place of `~`. `None`: the path begins with another user's `~NAME`, or this user
/// has no home directory.
pub(crate) fn expand(text: &str) -> Option<PathBuf> {
    let Some(rest) = text.strip_prefix('~') else {
        return Some(text.into());
    };
    let directories = directories::BaseDirs::new()?;
    match rest.strip_prefix('/') {
        Some(below) => Some(directories.home_dir().join(below)),
        None => rest.is_empty().then(|| directories.home_dir().to_owned()),
    }
}

/// Reads the path of a flag.
pub(crate) fn flag(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the path is empty".to_owned()),
        _ => expand(text).ok_or_else(|| "write ~/NAME, or the whole path".to_owned()),
    }
}
