//! The messages on standard input: one per line.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Stdin, stdin};

use crate::failure::Failure;

/// The longest line. No topic carries longer messages.
const LONGEST: u64 = 1 << 20;

/// The lines of a reader.
pub(super) struct Lines<R>(BufReader<R>);

impl Lines<Stdin> {
    /// The lines of standard input.
    pub(super) fn of_stdin() -> Self {
        Self(BufReader::new(stdin()))
    }
}

impl<R: tokio::io::AsyncRead + Unpin> Lines<R> {
    /// The next line that is not empty, without its end. It may be any bytes.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut self.0).take(LONGEST + 1);
            let read = limited.read_until(b'\n', &mut line).await;
            let read =
                read.map_err(|error| Failure::job(format!("cannot read standard input: {error}")))?;
            if read == 0 {
                return Ok(None);
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            if line.len() as u64 > LONGEST {
                return Err(Failure::job(format!(
                    "a line of standard input is longer than {LONGEST} bytes"
                )));
            }
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}

pub(super) fn base64(content: &[u8]) -> String {
    multibase::Base::Base64Pad.encode(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let (mut lines, mut all) = (Lines(BufReader::new(input)), Vec::new());
        while let Some(line) = lines.next().await? {
            all.push(line);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn each_line_is_a_message_even_if_it_is_no_text_and_the_last_one_needs_no_end() {
        let found = lines(b"one\n\n\xff\xfe\nlast").await.unwrap();
        assert_eq!(found, [&b"one"[..], b"\xff\xfe", b"last"]);
    }

    #[tokio::test]
    async fn a_line_of_one_mib_is_a_message_and_a_longer_one_is_an_error() {
        let longest = [vec![b'a'; 1 << 20], vec![b'\n']].concat();
        assert_eq!(lines(&longest).await.unwrap()[0].len(), 1 << 20);
        let longer = [vec![b'a'; (1 << 20) + 1], vec![b'\n']].concat();
        let error = lines(&longer).await.unwrap_err().to_string();
        assert!(error.contains("1048576"), "{error}");
    }
}
