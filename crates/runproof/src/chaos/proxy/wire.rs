//! Just enough of the Postgres protocol to see a client ask for a COMMIT.

/// Length of a request for encryption, which has no type and comes before anything else.
const ENCRYPTION_REQUEST: [u8; 2] = [0x04, 0xd2];
/// How much of a message is looked at.
const LOOK_AT: usize = 32;

/// Follows what a client sends, in pieces as they come.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Whether the start-up message, which has no type, is through.
    started: bool,
    /// Type and length of the message, as far as they are there.
    head: Vec<u8>,
    /// Beginning of its body.
    body: Vec<u8>,
    /// Bytes of its body that are still to come.
    left: usize,
}

impl Scanner {
    /// Takes a piece. True when a COMMIT ended in it.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> bool {
        let mut commits = false;
        while !bytes.is_empty() {
            let head_length = if self.started { 5 } else { 4 };
            if self.head.len() < head_length {
                let count = (head_length - self.head.len()).min(bytes.len());
                self.head.extend_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                if self.head.len() < head_length {
                    break;
                }
                let length =
                    self.head[head_length - 4..].iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
                self.left = length.saturating_sub(4);
            }
            let count = self.left.min(bytes.len());
            let seen = count.min(LOOK_AT.saturating_sub(self.body.len()));
            self.body.extend_from_slice(&bytes[..seen]);
            bytes = &bytes[count..];
            self.left -= count;
            if self.left == 0 {
                commits |= self.end();
            }
        }
        commits
    }

    /// A message is complete.
    fn end(&mut self) -> bool {
        let commits = self.started && is_commit(self.head[0], &self.body);
        if !self.started {
            self.started = !self.body.starts_with(&ENCRYPTION_REQUEST);
        }
        self.head.clear();
        self.body.clear();
        commits
    }
}

/// A simple query, or the unnamed statement, whose text is `COMMIT`.
fn is_commit(kind: u8, body: &[u8]) -> bool {
    let ((b'Q', text) | (b'P', [0, text @ ..])) = (kind, body) else { return false };
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text.trim_ascii().strip_suffix(b";").unwrap_or(text.trim_ascii());
    text.eq_ignore_ascii_case(b"COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &[u8], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [kind, &length, body].concat()
    }

    fn start() -> Vec<u8> {
        message(b"", b"\0\x03\0\0user\0somebody\0\0")
    }

    fn check(parts: &[Vec<u8>], expected: bool) {
        let whole = parts.concat();
        for piece in [1, 2, 3, 7, whole.len()] {
            let mut scanner = Scanner::default();
            let seen = whole.chunks(piece).fold(false, |seen, bytes| scanner.push(bytes) | seen);
            assert_eq!(seen, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_commit_is_seen_however_the_bytes_are_cut() {
        check(&[start(), message(b"Q", b"BEGIN\0"), message(b"Q", b"COMMIT\0")], true);
        check(&[start(), message(b"Q", b" commit; \0")], true);
        check(&[start(), message(b"P", b"\0COMMIT\0\0\0"), message(b"S", b"")], true);
    }

    #[test]
    fn nothing_else_is_taken_for_a_commit() {
        check(&[start(), message(b"Q", b"SELECT 'COMMIT'\0"), message(b"Q", b"ROLLBACK\0")], false);
        check(&[start(), message(b"P", b"COMMIT\0SELECT 1\0\0\0"), message(b"B", b"Q\0\0\0\x0bCOMMIT\0")], false);
        check(&[start(), message(b"d", &[b"Q\0\0\0\x0bCOMMIT\0".as_slice(), &[7; 5000]].concat())], false);
    }

    #[test]
    fn a_request_for_encryption_may_come_first() {
        let request = message(b"", &80_877_103u32.to_be_bytes());
        check(&[request, start(), message(b"Q", b"COMMIT\0")], true);
    }
}
