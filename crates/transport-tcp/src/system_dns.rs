//! A resolver that follows changes of the system's DNS configuration.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use hickory_resolver::{TokioResolver, config, net::runtime::TokioRuntimeProvider};
use tokio::time::{Instant, sleep};

/// The shortest time between two reads of the configuration, which consists of two small files.
const MIN_READ_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of bytes that are read of a file.
const MAX_CONFIG: u64 = 64 * 1024;

/// The maximum number of cached answers. An answer can have 64 KiB, and takes more than ten times as much memory once it is parsed: the
/// owner of a name can make a resolver keep about 6 MiB.
const CACHED_ANSWERS: u64 = 8;

/// The files of the system's configuration. Some systems keep the name servers elsewhere and have no such file.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) servers: PathBuf,
    pub(crate) hosts: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            servers: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
        }
    }
}

/// The part of the configuration that distinguishes two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    servers: Vec<u8>,
    /// The time and the length of the hosts file, which may be large.
    hosts: Option<(SystemTime, u64)>,
}

/// Decides when to look at the configuration, and whether it has changed.
#[derive(Debug, Default)]
struct Watch {
    looked: Option<Instant>,
    stamp: Option<Stamp>,
}

impl Watch {
    fn is_due(&self, now: Instant) -> bool {
        self.looked
            .is_none_or(|looked| now.duration_since(looked) >= MIN_READ_INTERVAL)
    }

    /// Stores the configuration that was read. Returns whether it differs from the previous one.
    fn handle_read(&mut self, now: Instant, stamp: Option<Stamp>) -> bool {
        self.looked = Some(now);
        let is_new = stamp.is_some() && stamp != self.stamp;
        self.stamp = stamp.or(self.stamp.take());
        is_new
    }
}

/// The resolver of one version of the configuration.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) resolver: TokioResolver,
    version: u64,
}

/// The resolver of the system's configuration. Each version of the configuration gets a new resolver.
pub(crate) struct SystemDns {
    files: Files,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watch: Watch,
    current: Option<Current>,
    /// The error of the last configuration that was unusable.
    problem: String,
}

impl SystemDns {
    pub(crate) fn new(files: Files) -> Self {
        Self {
            files,
            state: Mutex::default(),
        }
    }

    /// The resolver of the present configuration. While the configuration is missing or unusable, for example because a program
    /// is writing it, this is the resolver of the previous one.
    pub(crate) fn current(&self, now: Instant) -> io::Result<Current> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.watch.is_due(now) {
            match read(&self.files) {
                Err(error) => {
                    state.watch.handle_read(now, None);
                    state.problem = error.to_string();
                }
                Ok((stamp, parse)) => {
                    if state.watch.handle_read(now, Some(stamp)) {
                        state.make(parse);
                    }
                }
            }
        }
        let missing = || io::Error::other(state.problem.clone());
        state.current.clone().ok_or_else(missing)
    }

    /// Waits until the configuration differs from that of `former`.
    pub(crate) async fn replaced(&self, former: &Current) {
        loop {
            sleep(MIN_READ_INTERVAL).await;
            let current = self.current(Instant::now());
            if current.is_ok_and(|current| current.version != former.version) {
                return;
            }
        }
    }
}

impl State {
    fn make(&mut self, parse: Parse) {
        match parse().and_then(|(config, options)| build(config, options)) {
            Ok(resolver) => {
                let version = self
                    .current
                    .as_ref()
                    .map_or(0, |current| current.version + 1);
                self.current = Some(Current { resolver, version });
            }
            Err(error) => self.problem = error.to_string(),
        }
    }
}

type Parse = Box<dyn FnOnce() -> io::Result<(config::ResolverConfig, config::ResolverOpts)>>;

/// A resolver with the bounds of this crate.
pub(crate) fn build(
    config: config::ResolverConfig,
    mut options: config::ResolverOpts,
) -> io::Result<TokioResolver> {
    options.cache_size = CACHED_ANSWERS;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    builder
        .with_options(options)
        .build()
        .map_err(io::Error::other)
}

#[cfg(all(unix, not(any(target_os = "android", target_vendor = "apple"))))]
fn read(files: &Files) -> io::Result<(Stamp, Parse)> {
    use hickory_resolver::system_conf::parse_resolv_conf;
    let named = |error: io::Error| io::Error::new(error.kind(), at(&files.servers, &error));
    // To open a pipe would wait for its writer.
    if !std::fs::metadata(&files.servers).map_err(named)?.is_file() {
        return Err(named(io::Error::other("it is not a regular file")));
    }
    let mut servers = Vec::new();
    let file = File::open(&files.servers).map_err(named)?;
    file.take(MAX_CONFIG)
        .read_to_end(&mut servers)
        .map_err(named)?;
    let mut text = servers.clone();
    if text.len() as u64 == MAX_CONFIG {
        // The last line may be incomplete.
        let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        text.truncate(end);
    }
    let path = files.servers.clone();
    let parse =
        move || parse_resolv_conf(text).map_err(|error| io::Error::other(at(&path, &error)));
    let hosts = hosts(&files.hosts);
    Ok((Stamp { servers, hosts }, Box::new(parse)))
}

#[cfg(not(all(unix, not(any(target_os = "android", target_vendor = "apple")))))]
fn read(files: &Files) -> io::Result<(Stamp, Parse)> {
    let read = hickory_resolver::system_conf::read_system_conf().map_err(io::Error::other)?;
    let servers = format!("{read:?}").into_bytes();
    let hosts = hosts(&files.hosts);
    Ok((Stamp { servers, hosts }, Box::new(|| Ok(read))))
}

fn at(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn hosts(path: &Path) -> Option<(SystemTime, u64)> {
    let stamp = |found: Metadata| Some((found.modified().ok()?, found.len()));
    path.metadata().ok().and_then(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(text: &str) -> Option<Stamp> {
        let servers = text.into();
        Some(Stamp {
            servers,
            hosts: None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_configuration_is_read_once_a_second_and_a_missing_one_changes_nothing() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert!(watch.is_due(start));
        assert!(watch.handle_read(start, stamp("a")));
        assert!(!watch.is_due(after(999)));
        assert!(watch.is_due(after(1000)));
        assert!(!watch.handle_read(after(1000), stamp("a")));
        assert!(!watch.is_due(after(1999)));
        assert!(!watch.handle_read(after(2000), None));
        assert!(!watch.handle_read(after(3000), stamp("a")));
        assert!(watch.handle_read(after(4000), stamp("b")));
    }

    #[test]
    fn a_device_is_no_configuration_and_an_incomplete_last_line_counts_for_nothing() {
        let of = |servers: PathBuf| {
            let hosts = "/nonexistent".into();
            read(&Files { servers, hosts })
        };
        let device = of("/dev/zero".into()).err().unwrap().to_string();
        assert!(device.contains("not a regular file"), "{device}");
        let name = format!("bowline-long-tcp-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let (first, last) = ("nameserver 192.0.2.1\n", "nameserver 192.0.2.222\n");
        let filling = MAX_CONFIG as usize - first.len() - last.len() + 2;
        let comment = format!("{}\n", "#".repeat(filling - 1));
        std::fs::write(&path, [first, &comment, last].concat()).unwrap();
        let (_, parse) = of(path.clone()).unwrap();
        let (config, _) = parse().unwrap();
        let servers = config.name_servers().iter().map(|server| server.ip);
        assert_eq!(
            servers.collect::<Vec<_>>(),
            [std::net::IpAddr::from([192, 0, 2, 1])]
        );
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_unusable_configuration_leaves_the_former_resolver_in_place() {
        let folder = std::env::temp_dir().join(format!("bowline-dns-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Files {
            servers: folder.join("resolv.conf"),
            hosts: folder.join("hosts"),
        };
        let write = |text: &str| std::fs::write(folder.join("resolv.conf"), text).unwrap();
        let dns = SystemDns::new(files);
        let version = |after: u64| {
            let now = Instant::now() + Duration::from_secs(after);
            dns.current(now).map(|current| current.version)
        };
        let missing = version(0).unwrap_err().to_string();
        assert!(missing.contains("resolv.conf"), "{missing}");
        write("nameserver 192.0.2.1\n");
        assert!(version(0).is_err(), "read twice within a second");
        assert_eq!(version(1).unwrap(), 0);
        for unusable in ["", "nonsense\n"] {
            write(unusable);
            assert_eq!(version(2).unwrap(), 0);
        }
        write("nameserver 192.0.2.2\n");
        assert_eq!(version(3).unwrap(), 1);
        std::fs::write(folder.join("hosts"), "192.0.2.3 a.example\n").unwrap();
        assert_eq!(version(4).unwrap(), 2);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(version(5).unwrap(), 2, "both files are gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hosts_file_of_the_same_length_is_new_and_a_huge_configuration_is_cut() {
        let folder = std::env::temp_dir().join(format!("bowline-hosts-tcp-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (servers, hosts) = (folder.join("resolv.conf"), folder.join("hosts"));
        std::fs::write(&servers, "nameserver 192.0.2.1\n").unwrap();
        std::fs::write(&hosts, "192.0.2.3 a.example\n").unwrap();
        let dns = SystemDns::new(Files { servers, hosts });
        let first = dns.current(Instant::now()).unwrap();
        let cached = first.resolver.options().cache_size;
        assert_eq!(cached, CACHED_ANSWERS);
        let file = File::options().append(true).open(&dns.files.hosts).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let replaced = tokio::time::timeout(10 * MIN_READ_INTERVAL, dns.replaced(&first)).await;
        replaced.expect("a new configuration");
        let second = dns.current(Instant::now()).unwrap();
        assert_eq!(second.version, 1);
        let unchanged = tokio::time::timeout(10 * MIN_READ_INTERVAL, dns.replaced(&second)).await;
        assert!(unchanged.is_err(), "nothing has changed");
        let huge = vec![b'#'; MAX_CONFIG as usize + 1];
        std::fs::write(&dns.files.servers, huge).unwrap();
        let (stamp, _) = read(&dns.files).unwrap();
        assert_eq!(stamp.servers.len() as u64, MAX_CONFIG);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
