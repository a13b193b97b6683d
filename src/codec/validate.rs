//! Checks that a text is JSON, in one pass and without a tree.
//!
//! RFC 8259, sections 2 to 7. What passes through passes unchanged, and what the grammar allows passes: an escape `\uXXXX` may be half of a
//! surrogate pair, a number may be too large for any type. Nothing recurses, and nothing may be deeper than receivers' parsers take.

use super::json;

/// Levels of nesting, as many as serde_json gives a tree: a text that is deeper would fail in the receiver's parser.
pub(super) const MAX_DEPTH: u32 = 127;
/// Bytes of a long string that are looked at together.
const BLOCK: usize = 32;

/// The elements of a text that is a JSON array, without its brackets and outer space, and the first of them. `None`: it is none, or too deep.
pub(super) fn array(text: &str) -> Option<(Option<&str>, &str)> {
    let mut first = None;
    let elements = list(text, |element| first = first.or(Some(element)))?;
    Some((first, elements))
}

/// The elements of a text that is a JSON array, each as its text. `None`: it is none, or deeper than 127 levels.
#[must_use]
pub fn elements(text: &str) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    list(text, |element| elements.push(element))?;
    Some(elements)
}

fn list<'a>(text: &'a str, mut each: impl FnMut(&'a str)) -> Option<&'a str> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    reader.space();
    reader.eat(b'[')?;
    reader.space();
    let from = reader.at;
    let mut until = from;
    if reader.peek() != Some(b']') {
        loop {
            let start = reader.at;
            reader.value(MAX_DEPTH.saturating_sub(1))?;
            until = reader.at;
            each(text.get(start..until)?);
            reader.space();
            if reader.peek() != Some(b',') {
                break;
            }
            reader.skip();
            reader.space();
        }
    }
    reader.eat(b']')?;
    reader.end()?;
    text.get(from..until)
}

/// The values of these keys of a text that is a JSON object, each as its text; where a key stands twice, the last. The others are only checked.
/// `None`: it is no object, or one whose values are deeper than 128 levels, room enough for an event inside another object.
#[must_use]
pub fn object<'a, const N: usize>(text: &'a str, keys: [&str; N]) -> Option<[Option<&'a str>; N]> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let mut found = [None; N];
    reader.space();
    reader.eat(b'{')?;
    reader.space();
    if reader.peek() == Some(b'}') {
        reader.skip();
        return reader.end().map(|()| found);
    }
    loop {
        let quote = reader.at;
        // A name that no text can be is none that is looked for.
        let name = json::read_string(text.get(quote..reader.key()?)?).unwrap_or_default();
        let start = reader.at;
        reader.value(u128::BITS)?;
        let value = text.get(start..reader.at)?;
        for (_, slot) in keys.iter().zip(&mut found).filter(|(key, _)| **key == name) {
            *slot = Some(value);
        }
        reader.space();
        match reader.next()? {
            b',' => reader.space(),
            b'}' => return reader.end().map(|()| found),
            _ => return None,
        }
    }
}

/// Whether a text is a JSON value, at most 127 levels deep.
pub(super) fn is_json(text: &str) -> bool {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    reader.space();
    reader.value(MAX_DEPTH).and_then(|()| reader.end()).is_some()
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.skip();
        Some(byte)
    }

    fn eat(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.skip();
        }
    }

    fn end(&mut self) -> Option<()> {
        self.space();
        (self.at == self.bytes.len()).then_some(())
    }

    /// A value of at most so many levels; there are bits for 128.
    fn value(&mut self, most: u32) -> Option<()> {
        // The arrays and objects that are open, the innermost in the lowest bit: 1 is an object.
        let (mut open, mut depth) = (0_u128, 0_u32);
        loop {
            let byte = self.next()?;
            match byte {
                b'"' => self.string()?,
                b'[' | b'{' => {
                    depth = depth.saturating_add(1);
                    if depth > most {
                        return None;
                    }
                    open = open << 1 | u128::from(byte == b'{');
                    self.space();
                    let is_empty = self.peek() == Some(if byte == b'{' { b'}' } else { b']' });
                    if !is_empty {
                        if byte == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' | b'0'..=b'9' => self.number(byte)?,
                _ => return None,
            }
            // Behind a value: the next one, or the ends of what is open.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let is_object = open & 1 == 1;
                self.space();
                match self.next()? {
                    b',' => {
                        self.space();
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                open >>= 1;
                depth = depth.saturating_sub(1);
            }
        }
    }

    /// A name, its colon, and the space before its value. Gives where the name ends.
    fn key(&mut self) -> Option<usize> {
        self.eat(b'"')?;
        self.string()?;
        let end = self.at;
        self.space();
        self.eat(b':')?;
        self.space();
        Some(end)
    }

    /// A string behind its first quote.
    fn string(&mut self) -> Option<()> {
        loop {
            self.at = self.at.saturating_add(plain(self.bytes.get(self.at..)?));
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            self.next().filter(u8::is_ascii_hexdigit)?;
                        }
                    }
                    _ => return None,
                },
                // A control character.
                _ => return None,
            }
        }
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        let found = self.bytes.get(self.at..)?.starts_with(rest);
        self.at = self.at.saturating_add(rest.len());
        found.then_some(())
    }

    /// A number behind its first byte.
    fn number(&mut self, first: u8) -> Option<()> {
        let first = if first == b'-' { self.next()? } else { first };
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.skip();
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.skip();
            if let Some(b'+' | b'-') = self.peek() {
                self.skip();
            }
            self.some_digits()?;
        }
        Some(())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.skip();
        }
    }

    fn some_digits(&mut self) -> Option<()> {
        self.next().filter(u8::is_ascii_digit)?;
        self.digits();
        Some(())
    }
}

/// How many bytes a string goes on until a quote, a backslash or a control character. Most are short; of a long one blocks are passed over.
fn plain(rest: &[u8]) -> usize {
    let Some((near, far)) = rest.split_first_chunk::<BLOCK>() else { return plain_words(rest) };
    match plain_words(near) {
        BLOCK => {}
        end => return end,
    }
    // Without a way out of a block, the compiler compares its bytes all at once.
    let goes_on = |block: &&[u8; BLOCK]| {
        block
            .iter()
            .fold(0, |found, &byte| found | u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < b' '))
            == 0
    };
    let blocks = far.as_chunks().0.iter().take_while(goes_on).count();
    let at = blocks.saturating_add(1).saturating_mul(BLOCK);
    at.saturating_add(plain_words(rest.get(at..).unwrap_or_default()))
}

/// The same, eight by eight.
fn plain_words(rest: &[u8]) -> usize {
    let mut at: usize = 0;
    let (words, tail) = rest.as_chunks::<8>();
    for word in words {
        match ends(u64::from_le_bytes(*word)) {
            0 => at = at.saturating_add(8),
            // The lowest bit found is right; those above it may come from borrowing.
            found => return at.saturating_add(usize::try_from(found.trailing_zeros() / 8).unwrap_or(0)),
        }
    }
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    at.saturating_add(tail.iter().position(is_end).unwrap_or(tail.len()))
}

/// The highest bit of each of eight bytes that ends a plain stretch.
fn ends(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; 8]);
    let below = |word: u64, limit: u64| word.wrapping_sub(limit) & !word;
    let quote = word ^ u64::from_le_bytes([b'"'; 8]);
    let backslash = word ^ u64::from_le_bytes([b'\\'; 8]);
    let control = below(word, u64::from_le_bytes([b' '; 8]));
    (below(quote, ONES) | below(backslash, ONES) | control) & HIGHEST
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_core::de::IgnoredAny;
    use serde_json::Value;

    /// serde_json, which accepts exactly RFC 8259; its trees have the depth that we allow.
    fn judge(text: &str) -> bool {
        let deep = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > 127;
        serde_json::from_str::<IgnoredAny>(text).is_ok() && !(deep && serde_json::from_str::<Value>(text).is_err())
    }

    #[test]
    fn one_by_one() {
        for (text, want) in [
            ("", false),
            (" 0 ", true),
            ("-", false),
            ("-0", true),
            ("01", false),
            ("1.", false),
            (".5", false),
            ("1.5e", false),
            ("1.5E+", false),
            ("-1.5e-10", true),
            ("1e999", true),
            ("+1", false),
            ("true", true),
            ("tru", false),
            ("truee", false),
            ("false", true),
            ("null", true),
            ("nul", false),
            ("NaN", false),
            (r#""""#, true),
            (r#"""#, false),
            (r#""\""#, false),
            (r#""\u12g4""#, false),
            (r#""\ud800""#, true),
            (r#""\x""#, false),
            (r#""\/\b\f\n\r\t\\\"""#, true),
            ("\"a\nb\"", false),
            ("\"a\u{7f}b\u{2028}€\"", true),
            ("\"0123456789012345678901234567890123456789\"", true),
            ("\"0123456789012345678901234567890123456789\t\"", false),
            ("[]", true),
            ("[1,]", false),
            ("[,1]", false),
            ("[1 2]", false),
            ("[1,2", false),
            ("[1}", false),
            ("{}", true),
            ("{ \"a\" : 1 , \"b\":[{}] }", true),
            ("{\"a\":1,}", false),
            ("{\"a\"}", false),
            ("{1:2}", false),
            ("{\"a\":1]", false),
            ("[] []", false),
            ("\u{a0}1", false),
        ] {
            assert_eq!(is_json(text), want, "{text}");
            assert_eq!(judge(text), want, "{text}, by serde_json");
            assert_eq!(array(&format!("[{text}]")).is_some(), want || text.is_empty(), "[{text}]");
        }
    }

    #[test]
    fn elements_and_the_first() {
        for (text, first, list) in [
            ("[]", None, ""),
            (" [ ] ", None, ""),
            ("[ 1 , \"a,b\" ] ", Some("1"), "1 , \"a,b\""),
            (r#"[{"a":[1]},2]"#, Some(r#"{"a":[1]}"#), r#"{"a":[1]},2"#),
            ("[\"\u{20ac}\"]", Some("\"\u{20ac}\""), "\"\u{20ac}\""),
        ] {
            assert_eq!(array(text), Some((first, list)), "{text}");
        }
        for text in ["", "1", "{}", "\"[]\"", "[", "]", "[1", "[1] 2", "[1],"] {
            assert_eq!(array(text), None, "{text}");
        }
    }

    #[test]
    fn where_a_plain_stretch_ends() {
        for (filler, length) in
            [b' ', b'a', 0x7f, 0x80, 0xff, b'!', b'#', b']'].into_iter().zip([150, 97, 33].into_iter().cycle())
        {
            let mut text = vec![filler; length];
            assert_eq!(plain(&text), length);
            for at in (0..length).rev() {
                for end in [b'"', b'\\', 0, 0x1f, b'\n'] {
                    text[at] = end;
                    assert_eq!(plain(&text), at, "{end} after {at} times {filler}");
                    // It counts only in what is looked at.
                    assert_eq!(plain(&text[..at]), at);
                }
            }
        }
    }

    /// Exactly as deep as serde_json makes trees, and one over it.
    #[test]
    fn depth() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for (levels, want) in [(1, true), (127, true), (128, false), (100_000, false)] {
                let text = format!("{}1{}", open.repeat(levels), close.repeat(levels));
                assert_eq!(is_json(&text), want, "{levels}");
                assert_eq!(serde_json::from_str::<Value>(&text).is_ok(), want, "{levels}");
                if open == "[" {
                    assert_eq!(array(&text).is_some(), want, "{levels}");
                }
            }
        }
        assert!(is_json(&format!("[\"{}\"]", "[".repeat(1000))));
        assert!(is_json(&format!("[{}1]", "[],".repeat(1000))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn agrees_with_serde_json(text in r#"([\[\]{},:]|"[a\\"€ -]{0,3}"|"\\u[0-9a-g]{3,4}"|-|[0-9.eE+]{1,3}|true|null|fals|[ \n\t\x0b]){0,12}"#) {
            prop_assert_eq!(is_json(&text), judge(&text));
            prop_assert_eq!(array(&text).is_some(), judge(&text) && text.trim_start().starts_with('['));
        }

        #[test]
        fn agrees_with_serde_json_on_strings(text in r#"["\\]?[a-c€\\"/u0-9\x1f\x20]{0,80}"#) {
            let text = format!("\"{text}\"");
            prop_assert_eq!(is_json(&text), judge(&text));
        }
    }

    #[test]
    fn keys_of_an_object() {
        for (text, found) in [
            (r#"{}"#, Some([None, None])),
            (r#" { "a" : 1 , "b" : [ 2 ] } "#, Some([Some("1"), Some("[ 2 ]")])),
            (r#"{"b":null,"c":{"a":1}}"#, Some([None, Some("null")])),
            (r#"{"a":1,"a":"2"}"#, Some([Some("\"2\""), None])),
            (r#"{"\u0061":1,"\b":2}"#, Some([Some("1"), None])),
            (r#"{"a":1,}"#, None),
            (r#"{"a" 1}"#, None),
            (r#"{"a":1}}"#, None),
            (r#"{"a":1"#, None),
            (r#"{"a":}"#, None),
            (r#"{a:1}"#, None),
            (r#"["a"]"#, None),
            ("", None),
        ] {
            assert_eq!(object(text, ["a", "b"]), found, "{text}");
        }
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(object(&nested(128), ["a"]).is_some() && object(&nested(129), ["a"]).is_none());
    }

    #[test]
    fn elements_of_an_array() {
        assert_eq!(elements(r#" [ "a,b" , [1, 2],{} ] "#), Some(vec!["\"a,b\"", "[1, 2]", "{}"]));
        assert_eq!(elements("[ ]"), Some(vec![]));
        for text in ["", "[1,]", "[1", "{}", "[1]]", "[,]"] {
            assert_eq!(elements(text), None, "{text}");
        }
    }

    proptest! {
        /// As serde_json finds them.
        #[test]
        fn objects_as_serde_json_reads_them(text in "[ {}\\[\\]\":,ab1\\\\]{0,24}") {
            let judge = serde_json::from_str::<std::collections::HashMap<String, Value>>(&text).ok();
            let found = object(&text, ["a", "b"]).map(|found| found.map(|text| text.map(|text| serde_json::from_str(text).unwrap())));
            prop_assert_eq!(found, judge.map(|judge| ["a", "b"].map(|key| judge.get(key).cloned())));
        }
    }
}
