//! A request body in chunks. RFC 9112 section 7.1.
//!
//! ```text
//! chunked-body = *chunk last-chunk trailer-section CRLF
//! chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
//! chunk-size   = 1*HEXDIG
//! last-chunk   = 1*"0" [ chunk-ext ] CRLF
//! ```
//!
//! Proxies make them where they don't wait for the whole body; so do clients that don't know its length. Nobody we know sends extensions
//! or trailers, and those are where readers have disagreed about the end of a body: both are refused, as is a line that ends in a bare line
//! feed, and a size with a sign, a space or `0x`.

use std::fmt;

/// Digits of a chunk's size: leading zeros are allowed, but not without end.
const MOST_DIGITS: u8 = 16;

/// Why a body is refused. The connection can't be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// Against the grammar, or an extension or a trailer.
    Malformed,
    /// More than the limit, as its chunks announce or hold.
    TooLarge,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChunkError::Malformed => "malformed chunks",
            ChunkError::TooLarge => "body too large",
        })
    }
}

impl std::error::Error for ChunkError {}

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A digit of a size, so many have come; or the end of its line.
    Size {
        size: usize,
        digits: u8,
    },
    /// The line feed of a size's line.
    SizeEnd {
        size: usize,
    },
    /// So many bytes of a chunk.
    Data {
        left: usize,
    },
    /// The end of a chunk.
    DataEnd,
    /// Its line feed.
    DataLineFeed,
    /// The empty line behind the last chunk.
    End,
    /// Its line feed.
    EndLineFeed,
    Done,
    Failed(ChunkError),
}

/// Reads one body, piece by piece.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    body: Vec<u8>,
    most: usize,
}

impl Chunked {
    /// A body of at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Chunked {
        Chunked { state: State::Size { size: 0, digits: 0 }, body: Vec::new(), most }
    }

    /// Takes what has come: how much of it belongs to the body, which is all unless [`Chunked::is_done`] then.
    ///
    /// # Errors
    /// See [`ChunkError`]; the first stays.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, ChunkError> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            self.state = match self.state {
                State::Done => break,
                State::Failed(error) => return Err(error),
                // The data is what most of it is: taken as one piece.
                State::Data { left } => {
                    let (data, behind) = rest.split_at_checked(left).unwrap_or((rest, &[]));
                    self.body.extend_from_slice(data);
                    rest = behind;
                    self.state = match left.saturating_sub(data.len()) {
                        0 => State::DataEnd,
                        left => State::Data { left },
                    };
                    continue;
                }
                State::Size { size, digits } => self.size(byte, size, digits),
                State::SizeEnd { size: 0 } => line_feed(byte, State::End),
                State::SizeEnd { size } => line_feed(byte, State::Data { left: size }),
                State::DataEnd => carriage_return(byte, State::DataLineFeed),
                State::DataLineFeed => line_feed(byte, State::Size { size: 0, digits: 0 }),
                // Anything else would begin a trailer.
                State::End => carriage_return(byte, State::EndLineFeed),
                State::EndLineFeed => line_feed(byte, State::Done),
            };
            rest = after;
        }
        match self.state {
            State::Failed(error) => Err(error),
            _ => Ok(bytes.len().saturating_sub(rest.len())),
        }
    }

    fn size(&self, byte: u8, size: usize, digits: u8) -> State {
        let digit = char::from(byte).to_digit(16).and_then(|digit| usize::try_from(digit).ok());
        match (digit, byte) {
            (None, b'\r') if digits > 0 => State::SizeEnd { size },
            (None, _) => State::Failed(ChunkError::Malformed),
            (Some(_), _) if digits >= MOST_DIGITS => State::Failed(ChunkError::Malformed),
            // What is announced counts: a number beyond measure is too large as soon as it is.
            (Some(digit), _) => match size.checked_mul(16).and_then(|size| size.checked_add(digit)) {
                Some(size) if size <= self.most.saturating_sub(self.body.len()) => {
                    State::Size { size, digits: digits.saturating_add(1) }
                }
                Some(_) | None => State::Failed(ChunkError::TooLarge),
            },
        }
    }

    /// The last chunk and the empty line behind it have come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// What has come of the body.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

fn carriage_return(byte: u8, then: State) -> State {
    if byte == b'\r' { then } else { State::Failed(ChunkError::Malformed) }
}

fn line_feed(byte: u8, then: State) -> State {
    if byte == b'\n' { then } else { State::Failed(ChunkError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::ChunkError::*;
    use super::*;
    use proptest::prelude::*;

    /// The body, and what is left of `bytes`, read in pieces of this size; `None`: more is needed.
    fn read_by(size: usize, bytes: &[u8], most: usize) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
        let (mut chunked, mut at) = (Chunked::new(most), 0);
        for piece in bytes.chunks(size) {
            at += match chunked.read(piece) {
                Ok(taken) => taken,
                Err(error) => {
                    assert_eq!(chunked.read(b"0\r\n\r\n"), Err(error), "the first error stays");
                    return Err(error);
                }
            };
            if chunked.is_done() {
                assert_eq!(chunked.read(b"more"), Ok(0));
                return Ok(Some((chunked.into_body(), bytes.len() - at)));
            }
        }
        assert_eq!(at, bytes.len(), "what was not needed");
        Ok(None)
    }

    /// Whole, byte by byte, and with the next request behind it.
    fn read(bytes: &[u8], most: usize) -> Result<Option<Vec<u8>>, ChunkError> {
        let whole = read_by(bytes.len().max(1), bytes, most);
        assert_eq!(read_by(1, bytes, most), whole, "byte by byte");
        assert!(!matches!(whole, Ok(Some((_, 1..)))));
        let followed = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        if let Ok(Some((body, _))) = &whole {
            assert_eq!(read_by(followed.len(), &followed, most), Ok(Some((body.clone(), 16))), "with trailing bytes");
        }
        whole.map(|read| read.map(|(body, _)| body))
    }

    #[test]
    fn bodies() {
        // The grammar's own example, RFC 9112 section 7.1.3, decodes this.
        for (text, want) in [
            ("0\r\n\r\n", ""),
            ("2\r\n40\r\n0\r\n\r\n", "40"),
            ("4\r\nWiki\r\n5\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\n\r\n", "Wikipedia in\r\n\r\nchunks."),
            ("a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789"),
            ("0000000000000002\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
            ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        ] {
            assert_eq!(read(text.as_bytes(), 100), Ok(Some(want.as_bytes().to_vec())), "{text:?}");
            for end in 0..text.len() {
                assert_eq!(read(&text.as_bytes()[..end], 100), Ok(None), "{text:?} up to {end}");
            }
        }
    }

    #[test]
    fn refused() {
        for (name, text) in [
            ("no size", "\r\n\r\n"),
            ("an extension", "2;a=b\r\n40\r\n0\r\n\r\n"),
            ("an extension of the last chunk", "0;a\r\n\r\n"),
            ("a space behind the size", "2 \r\n40\r\n0\r\n\r\n"),
            ("a space before it", " 2\r\n40\r\n0\r\n\r\n"),
            ("a tab behind it", "2\t\r\n40\r\n0\r\n\r\n"),
            ("a sign", "+2\r\n40\r\n0\r\n\r\n"),
            ("a negative size", "-2\r\n40\r\n0\r\n\r\n"),
            ("another base", "0x2\r\n40\r\n0\r\n\r\n"),
            ("an underscore", "1_0\r\n40\r\n0\r\n\r\n"),
            ("no digit", "g\r\n40\r\n0\r\n\r\n"),
            ("a digit that is none in ASCII", "２\r\n40\r\n0\r\n\r\n"),
            ("a NUL", "2\0\r\n40\r\n0\r\n\r\n"),
            ("17 digits", "00000000000000002\r\n40\r\n0\r\n\r\n"),
            ("a bare line feed behind the size", "2\n40\r\n0\r\n\r\n"),
            ("a bare carriage return behind it", "2\r40\r\n0\r\n\r\n"),
            ("two carriage returns", "2\r\r\n40\r\n0\r\n\r\n"),
            ("a bare line feed behind the data", "2\r\n40\n0\r\n\r\n"),
            ("a chunk that is longer than it says", "1\r\n40\r\n0\r\n\r\n"),
            ("a chunk that is shorter", "3\r\n40\r\n0\r\n\r\n"),
            ("a trailer", "2\r\n40\r\n0\r\nX: y\r\n\r\n"),
            ("a trailer that would be a length", "0\r\nContent-Length: 5\r\n\r\n"),
            ("a bare line feed at the end", "0\r\n\n"),
            ("no empty line", "0\r\nGET / HTTP/1.1\r\n\r\n"),
        ] {
            assert_eq!(read(text.as_bytes(), 100), Err(Malformed), "{name}");
        }
    }

    #[test]
    fn one_over_the_limit() {
        for (text, want) in [
            ("a\r\n0123456789\r\n0\r\n\r\n", Ok(Some(10))),
            ("5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", Ok(Some(10))),
            ("b\r\n", Err(TooLarge)),
            ("b", Err(TooLarge)),
            ("5\r\n01234\r\n6\r\n", Err(TooLarge)),
            ("a\r\n0123456789\r\n1\r\n", Err(TooLarge)),
            ("ffffffffffffffff\r\n", Err(TooLarge)),
            ("10000000000000000\r\n", Err(TooLarge)),
            ("fffffffffffffffff", Err(TooLarge)),
        ] {
            assert_eq!(read(text.as_bytes(), 10).map(|body| body.map(|body| body.len())), want, "{text:?}");
        }
        assert_eq!((TooLarge.to_string(), Malformed.to_string()), ("body too large".into(), "malformed chunks".into()));
    }

    proptest! {
        #[test]
        fn any_body_in_any_chunks(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..9), size in 1usize..50) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(read_by(size, &bytes, 400), Ok(Some((chunks.concat(), 0))));
        }

        #[test]
        fn any_bytes_however_they_are_cut(text in "[0-9a-f\r\n; ]{0,40}", size in 1usize..9) {
            let _ = read(text.as_bytes(), 64);
            prop_assert_eq!(read_by(size, text.as_bytes(), 64), read_by(64, text.as_bytes(), 64));
        }
    }
}
