//! A list in a file, which is read again when it changes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{io::AsyncReadExt, time::sleep};

use super::{Finds, Task, parse_peer};
use crate::{Candidate, Origin, SourceError};

/// How often the source looks whether the file has changed.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How much of the file is read.
const MAX_BYTES: usize = 1 << 20;

/// How many candidates are read.
const MAX_CANDIDATES: usize = 1000;

/// How many bad lines of one reading are named one by one.
const MAX_NAMED: usize = 8;

/// How much of a bad line is shown, in characters.
const MAX_SHOWN: usize = 80;

/// A source that reads a file with one address of a peer per line. Lines that start with `#` are comments.
///
/// The file is read again within 2 s after it has changed, and addresses that are no longer in it are withdrawn. If the file
/// cannot be read, the candidates that were read before stay. The source reports a bad line once, as long as the line stays in
/// the file. It reads at most 1,000 addresses in the first MiB.
pub fn file(path: impl Into<PathBuf>) -> Task<PeerId, Multiaddr> {
    let path = path.into();
    Task::new(move |finds| watch(path, finds))
}

type Peer = Candidate<PeerId, Multiaddr>;

/// What tells one version of the file from another.
type Version = (Option<SystemTime>, u64);

async fn watch(path: PathBuf, finds: Finds<PeerId, Multiaddr>) {
    let (mut known, mut version, mut failure) = (Vec::<Peer>::new(), None, None);
    // What was wrong with the lines. A file that is read while it is written is read again, with the same bad lines.
    let mut told = Vec::<String>::new();
    loop {
        let read = match look(&path).await {
            Ok(now) if Some(now) == version => None,
            Ok(now) => Some(read(&path).await.map(|bytes| (now, bytes))),
            Err(error) => Some(Err(error)),
        };
        match read {
            None => {}
            Some(Ok((now, bytes))) => {
                (version, failure) = (Some(now), None);
                let (peers, problems) = parse(&path, &bytes);
                let texts = problems.iter().map(SourceError::to_string).collect();
                let before = std::mem::replace(&mut told, texts);
                for problem in problems {
                    if !before.contains(&problem.to_string()) {
                        finds.problem(problem).await;
                    }
                }
                for gone in known.iter().filter(|peer| !peers.contains(peer)) {
                    finds.withdrawn(gone.clone()).await;
                }
                for new in peers.iter().filter(|peer| !known.contains(peer)) {
                    finds.candidate(new.clone()).await;
                }
                known = peers;
            }
            // The same failure is reported once.
            Some(Err(error)) if failure == Some(error.kind()) => {}
            Some(Err(error)) => {
                (failure, version) = (Some(error.kind()), None);
                let source = Arc::new(error);
                finds
                    .problem(SourceError::Read {
                        path: path.clone(),
                        source,
                    })
                    .await;
            }
        }
        sleep(POLL_INTERVAL).await;
    }
}

async fn look(path: &Path) -> io::Result<Version> {
    let metadata = tokio::fs::metadata(path).await?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok((metadata.modified().ok(), metadata.len()))
}

/// Reads one byte more than is used, to see whether the file is too long.
async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = tokio::fs::File::open(path).await?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .await?;
    Ok(bytes)
}

/// The candidates of a file's content, and what is wrong with its lines.
fn parse(path: &Path, bytes: &[u8]) -> (Vec<Peer>, Vec<SourceError>) {
    let path = || path.to_path_buf();
    let (mut peers, mut problems, mut unnamed) = (Vec::new(), Vec::new(), 0);
    if bytes.len() > MAX_BYTES {
        problems.push(SourceError::TooLong {
            path: path(),
            limit: MAX_BYTES,
            unit: "bytes",
        });
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_BYTES)]);
    let lines = text.lines().map(str::trim).enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        match parse_peer(line, Origin::File) {
            Ok(_) if peers.len() == MAX_CANDIDATES => {
                problems.push(SourceError::TooLong {
                    path: path(),
                    limit: MAX_CANDIDATES,
                    unit: "addresses",
                });
                break;
            }
            Ok(peer) => peers.push(peer),
            Err(_) if problems.len() < MAX_NAMED => {
                let text = line.chars().take(MAX_SHOWN).collect();
                problems.push(SourceError::Line {
                    path: path(),
                    line: index + 1,
                    text,
                });
            }
            Err(_) => unnamed += 1,
        }
    }
    if unnamed > 0 {
        problems.push(SourceError::Lines {
            path: path(),
            lines: unnamed,
        });
    }
    (peers, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_passed_over_and_bad_lines_are_named_up_to_eight() {
        let bad = "nonsense \u{1b}[2J\n".repeat(10);
        let text = format!("# a comment\n\n  /ip4/192.0.2.1/tcp/1  \n{bad}/ip4/192.0.2.2/tcp/1");
        let (peers, problems) = parse(Path::new("list"), text.as_bytes());
        assert_eq!(peers.len(), 2);
        assert_eq!(problems.len(), 9);
        let first = problems[0].to_string();
        assert!(
            first.starts_with("list:4: \"nonsense \\u{1b}[2J\" is not an address of a peer"),
            "{first}"
        );
        assert_eq!(
            problems[8].to_string(),
            "list: 2 further lines are not addresses of peers"
        );
    }

    #[test]
    fn of_a_bad_line_eighty_characters_are_shown() {
        let text = "ä".repeat(200);
        let (_, problems) = parse(Path::new("list"), text.as_bytes());
        let shown = format!("list:1: {:?} is not an address", "ä".repeat(80));
        let problem = problems[0].to_string();
        assert!(problem.starts_with(&shown), "{problem}");
    }

    #[test]
    fn a_file_of_more_than_a_thousand_addresses_or_a_mebibyte_is_cut_and_says_so() {
        let text = "/ip4/192.0.2.1/tcp/1\n".repeat(1001);
        let (peers, problems) = parse(Path::new("list"), text.as_bytes());
        assert_eq!(peers.len(), 1000);
        assert_eq!(
            problems[0].to_string(),
            "list: only the first 1000 addresses are read"
        );
        let (peers, problems) = parse(Path::new("list"), &vec![b'#'; MAX_BYTES + 1]);
        assert!(peers.is_empty());
        assert_eq!(
            problems[0].to_string(),
            "list: only the first 1048576 bytes are read"
        );
    }
}
