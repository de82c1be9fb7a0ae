//! A notice when the system's DNS configuration has changed. The resolvers of the transports read the new configuration
//! themselves. The notice is for tasks that wait after a failed look-up.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

/// The file with the name servers. Systems without this file cause no notices.
const FILE: &str = "/etc/resolv.conf";

/// The time between two looks at the file's metadata.
const POLL: Duration = Duration::from_secs(1);

/// The time of the last change, and the length in bytes.
type Stamp = (SystemTime, u64);

/// Waits for changes of the DNS configuration.
pub(crate) struct Watch {
    file: PathBuf,
    seen: Option<Stamp>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self::of(FILE.into())
    }

    fn of(file: PathBuf) -> Self {
        let seen = stamp(&file);
        Self { file, seen }
    }

    /// Waits until the configuration has changed. Cancel-safe: a dropped wait forgets no change.
    pub(crate) async fn changed(&mut self) {
        while !self.look() {
            sleep(POLL).await;
        }
    }

    /// Whether there is a configuration that differs from the one of the last look. A missing file is no new configuration.
    fn look(&mut self) -> bool {
        let now = stamp(&self.file);
        let is_new = now.is_some() && now != self.seen;
        self.seen = now.or(self.seen);
        is_new
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_configuration_is_noticed_once_and_a_missing_file_is_not_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("resolv.conf");
        let write = |text: &str| fs::write(&file, text).unwrap();
        write("nameserver 192.0.2.1\n");
        let mut watch = Watch::of(file.clone());
        assert!(!watch.look());
        write("nameserver 192.0.2.22\n");
        assert!(watch.look());
        assert!(!watch.look());
        fs::remove_file(&file).unwrap();
        assert!(!watch.look());
        write("nameserver 192.0.2.1\n");
        assert!(watch.look());
    }

    #[test]
    fn a_configuration_of_the_same_length_is_new_if_its_time_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        let mut watch = Watch::of(path.clone());
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(watch.look());
        assert!(!watch.look());
    }
}
