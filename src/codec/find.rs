//! Looks for a byte in a few of them: eight at once. For the short texts of heads and queries, of which none is worth a longer way.

/// Where the first such byte is.
pub(crate) fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let mut at: usize = 0;
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        match equal(*word, byte) {
            0 => at = at.saturating_add(8),
            // The lowest bit found is right; those above it may come from borrowing.
            found => return Some(at.saturating_add(usize::try_from(found.trailing_zeros() / 8).unwrap_or(0))),
        }
        rest = after;
    }
    rest.iter().position(|other| *other == byte).map(|more| at.saturating_add(more))
}

/// The text before and behind the first such byte, which is ASCII; nothing is behind one that isn't there.
pub(crate) fn cut(text: &str, byte: u8) -> (&str, &str) {
    let at = find(text.as_bytes(), byte).unwrap_or(text.len());
    (text.get(..at).unwrap_or_default(), text.get(at.saturating_add(1)..).unwrap_or_default())
}

/// The highest bit of each of eight bytes that is this one.
fn equal(word: [u8; 8], byte: u8) -> u64 {
    let different = u64::from_le_bytes(word) ^ u64::from_le_bytes([byte; 8]);
    different.wrapping_sub(u64::from_le_bytes([1; 8])) & !different & u64::from_le_bytes([0x80; 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wherever_it_is() {
        for length in 0..40 {
            for at in 0..length {
                for (filler, byte) in [(b'a', b'b'), (b'b', b'a'), (0, 1), (0xff, 0x7f), (0x7f, 0xff), (1, 0)] {
                    let mut bytes = vec![filler; length];
                    assert_eq!(find(&bytes, byte), None);
                    bytes[at] = byte;
                    assert_eq!(find(&bytes, byte), Some(at), "{length}");
                    bytes[length - 1] = byte;
                    assert_eq!(find(&bytes, byte), Some(at), "the first of two");
                }
            }
        }
    }

    #[test]
    fn what_is_cut() {
        for (text, want) in
            [("", ("", "")), ("a", ("a", "")), ("&", ("", "")), ("a&b&c", ("a", "b&c")), ("€&€", ("€", "€"))]
        {
            assert_eq!(cut(text, b'&'), want);
        }
    }
}
