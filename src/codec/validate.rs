//! Checks that a text is JSON, in one pass and without a tree.
//!
//! RFC 8259, sections 2 to 7. What passes through passes unchanged, and what the grammar allows passes: an escape `\uXXXX` may be half of a
//! surrogate pair, a number may be too large for any type. Nothing recurses, and nothing may be deeper than receivers' parsers take.

use super::json;
use memchr::memchr2;
use std::ops::Range;

/// Levels of nesting, as many as serde_json gives a tree: a text that is deeper would fail in the receiver's parser.
pub(super) const MAX_DEPTH: u32 = 127;
/// This bit, turned in each byte, puts the quote right behind the control characters; no other byte comes up to it.
const TURNED: u8 = 2;

/// The elements of a text that is a JSON array, without its brackets and outer space. `None`: it is none, or too deep.
pub(super) fn array(text: &str) -> Option<&str> {
    list(text, |_| ()).and_then(|elements| text.get(elements))
}

/// The first element of a text that is a JSON array, if it has one, and the others as [`array`] gives them. `None`: it is none, or too deep.
pub(super) fn first_and_others(text: &str) -> Option<(Option<&str>, &str)> {
    let (mut first, mut second) = (None, None);
    let elements = list(text, |element| match first {
        None => first = Some(element),
        Some(_) => second = second.or(Some(element.start)),
    })?;
    let others = text.get(second.unwrap_or(elements.end)..elements.end)?;
    Some((first.and_then(|first| text.get(first)), others))
}

/// The elements of a text that is a JSON array, each as its text. `None`: it is none, or deeper than 127 levels.
#[must_use]
pub fn elements(text: &str) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    list(text, |element| elements.extend(text.get(element)))?;
    Some(elements)
}

/// Where the elements of a text that is a JSON array are, one by one and together.
fn list(text: &str, mut each: impl FnMut(Range<usize>)) -> Option<Range<usize>> {
    let at = |rest: &[u8]| text.len().saturating_sub(rest.len());
    let mut rest = space(eat(b'[', space(text.as_bytes()))?);
    let from = at(rest);
    let mut until = from;
    if rest.first() != Some(&b']') {
        loop {
            let start = at(rest);
            rest = value(rest, MAX_DEPTH.saturating_sub(1))?;
            until = at(rest);
            each(start..until);
            rest = space(rest);
            match rest {
                [b',', behind @ ..] => rest = space(behind),
                _ => break,
            }
        }
    }
    end(eat(b']', rest)?)?;
    Some(from..until)
}

/// The values of these keys of a text that is a JSON object, each as its text; where a key stands twice, the last. The others are only checked.
/// `None`: it is no object, or one whose values are deeper than 128 levels, room enough for an event inside another object.
#[must_use]
pub fn object<'a, const N: usize>(text: &'a str, keys: [&str; N]) -> Option<[Option<&'a str>; N]> {
    let at = |rest: &[u8]| text.len().saturating_sub(rest.len());
    let mut found = [None; N];
    let mut rest = space(eat(b'{', space(text.as_bytes()))?);
    if let [b'}', rest @ ..] = rest {
        return end(rest).map(|()| found);
    }
    loop {
        let quote = at(rest);
        rest = string(eat(b'"', rest)?)?;
        // A name that no text can be is none that is looked for.
        let name = json::read_string(text.get(quote..at(rest))?).unwrap_or_default();
        rest = colon(rest)?;
        let start = at(rest);
        rest = value(rest, u128::BITS)?;
        let value = text.get(start..at(rest))?;
        for (_, slot) in keys.iter().zip(&mut found).filter(|(key, _)| **key == name) {
            *slot = Some(value);
        }
        match space(rest) {
            [b',', behind @ ..] => rest = space(behind),
            [b'}', behind @ ..] => return end(behind).map(|()| found),
            _ => return None,
        }
    }
}

/// Whether a text is a JSON value, at most 127 levels deep.
pub(super) fn is_json(text: &str) -> bool {
    value(space(text.as_bytes()), MAX_DEPTH).and_then(end).is_some()
}

// What follows takes what is not read yet, and gives what is left of it behind what it looks for.

fn eat(wanted: u8, rest: &[u8]) -> Option<&[u8]> {
    rest.strip_prefix(&[wanted])
}

fn space(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\n' | b'\r' | b'\t', behind @ ..] = rest {
        rest = behind;
    }
    rest
}

fn end(rest: &[u8]) -> Option<()> {
    space(rest).is_empty().then_some(())
}

/// A value of at most so many levels; there are bits for 128.
fn value(rest: &[u8], most: u32) -> Option<&[u8]> {
    match rest {
        [b'"', rest @ ..] => string(rest),
        _ => nested(rest, most),
    }
}

/// Any value. Not inlined: a string needs none of the registers that this one saves.
#[inline(never)]
fn nested(mut rest: &[u8], most: u32) -> Option<&[u8]> {
    // The arrays and objects that are open, the innermost in the lowest bit: 1 is an object.
    let (mut open, mut depth) = (0_u128, 0_u32);
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = match byte {
            b'"' => string(behind)?,
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                if depth > most {
                    return None;
                }
                open = open << 1 | u128::from(byte == b'{');
                rest = space(behind);
                match (byte, rest.first()) {
                    (b'[', Some(b']')) | (b'{', Some(b'}')) => rest,
                    (b'[', _) => continue,
                    (_, _) => {
                        rest = key(rest)?;
                        continue;
                    }
                }
            }
            b't' => behind.strip_prefix(b"rue")?,
            b'f' => behind.strip_prefix(b"alse")?,
            b'n' => behind.strip_prefix(b"ull")?,
            b'-' | b'0'..=b'9' => number(byte, behind)?,
            _ => return None,
        };
        // Behind a value: the next one, or the ends of what is open.
        loop {
            if depth == 0 {
                return Some(rest);
            }
            let is_object = open & 1 == 1;
            let (byte, behind) = space(rest).split_first()?;
            match byte {
                b',' => {
                    rest = space(behind);
                    if is_object {
                        rest = key(rest)?;
                    }
                    break;
                }
                b'}' if is_object => {}
                b']' if !is_object => {}
                _ => return None,
            }
            rest = behind;
            open >>= 1;
            depth = depth.saturating_sub(1);
        }
    }
}

/// A name, its colon, and the space before its value.
fn key(rest: &[u8]) -> Option<&[u8]> {
    colon(string(eat(b'"', rest)?)?)
}

fn colon(rest: &[u8]) -> Option<&[u8]> {
    eat(b':', space(rest)).map(space)
}

/// A string behind its first quote. Most are short and plain.
fn string(rest: &[u8]) -> Option<&[u8]> {
    if let Some(word) = rest.first_chunk()
        && let Some([b'"', rest @ ..]) = rest.get(plain_in(*word)..)
    {
        return Some(rest);
    }
    long_string(rest)
}

/// Any string. Not inlined, for the same reason.
#[inline(never)]
fn long_string(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (stretch, behind) = rest.split_at_checked(memchr2(b'"', b'\\', rest)?)?;
        // Without a way out, the compiler compares many bytes at once.
        if stretch.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < b' ' {
            return None;
        }
        rest = match behind.split_first()? {
            (b'"', behind) => return Some(behind),
            (_, behind) => escape(behind)?,
        };
    }
}

/// An escape behind its backslash.
fn escape(rest: &[u8]) -> Option<&[u8]> {
    match rest.split_first()? {
        (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest) => Some(rest),
        (b'u', rest) => {
            let (digits, rest) = rest.split_first_chunk::<4>()?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(rest)
        }
        _ => None,
    }
}

/// A number behind its first byte.
fn number(first: u8, rest: &[u8]) -> Option<&[u8]> {
    let (first, rest) = match (first, rest) {
        (b'-', [first, rest @ ..]) => (*first, rest),
        _ => (first, rest),
    };
    let mut rest = match first {
        b'0' => rest,
        b'1'..=b'9' => digits(rest),
        _ => return None,
    };
    if let [b'.', behind @ ..] = rest {
        rest = some_digits(behind)?;
    }
    if let [b'e' | b'E', behind @ ..] = rest {
        rest = some_digits(match behind {
            [b'+' | b'-', behind @ ..] => behind,
            _ => behind,
        })?;
    }
    Some(rest)
}

fn digits(mut rest: &[u8]) -> &[u8] {
    while let [b'0'..=b'9', behind @ ..] = rest {
        rest = behind;
    }
    rest
}

fn some_digits(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'0'..=b'9', rest @ ..] => Some(digits(rest)),
        _ => None,
    }
}

/// How many of eight bytes come before a quote, a backslash or a control character.
fn plain_in(word: [u8; 8]) -> usize {
    let each = |byte: u8| u64::from_le_bytes([byte; 8]);
    let below = |word: u64, limit: u8| word.wrapping_sub(each(limit));
    let word = u64::from_le_bytes(word);
    let backslash = below(word ^ each(b'\\'), 1);
    let control_or_quote = below(word ^ each(TURNED), (b'"' ^ TURNED) + 1);
    // The lowest bit found is right; those above it may come from borrowing.
    let found = (backslash | control_or_quote) & !word & each(0x80);
    usize::try_from(found.trailing_zeros() / 8).unwrap_or(0)
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
            assert_eq!(array(text), Some(list), "{text}");
            let others = list.strip_prefix(first.unwrap_or_default()).unwrap().trim_start_matches([' ', ',']);
            assert_eq!(first_and_others(text), Some((first, others)), "{text}");
        }
        for text in ["", "1", "{}", "\"[]\"", "[", "]", "[1", "[1] 2", "[1],"] {
            assert_eq!(array(text), None, "{text}");
            assert_eq!(first_and_others(text), None, "{text}");
        }
    }

    /// Strings whose ends, escapes and mistakes are at every place.
    #[test]
    fn strings_of_all_lengths() {
        for length in (0..=48).chain(120..=136).chain(155..=170).chain(285..=300) {
            let text = "a".repeat(length);
            assert!(is_json(&format!("\"{text}\"")) && is_json(&format!("[[\"{text}\",\"{text}\"],1]")), "{length}");
            assert!(!is_json(&format!("\"{text}")) && !is_json(&format!("[\"{text}]")), "{length}");
            for at in 0..=length {
                let with = |piece: &str| is_json(&format!("[\"{}{piece}{}\",2]", &text[at..], &text[..at]));
                assert!(["\\n", "\\\"", "\\u00e9", "\u{20ac}", "\u{7f}"].into_iter().all(with), "{at} of {length}");
                assert!(!["\n", "\"", "\\x", "\\u00g0", "\u{1f}"].into_iter().any(with), "{at} of {length}");
            }
        }
    }

    #[test]
    fn every_byte_in_a_word() {
        for byte in 0..=u8::MAX {
            let is_end = byte < b' ' || byte == b'"' || byte == b'\\';
            assert_eq!(plain_in([byte; 8]), if is_end { 0 } else { 8 }, "{byte}");
            for (at, filler) in (0..8).flat_map(|at| [b'a', b' ', b'!', b'#', 0x80, 0xff].map(|filler| (at, filler))) {
                let mut word = [filler; 8];
                word[at] = byte;
                assert_eq!(plain_in(word), if is_end { at } else { 8 }, "{byte} at {at} in {filler}");
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

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_long_strings(text in r#"([a-c€é ]{0,150}[\\]?[\\"/u0-9\x1f]{0,2}){0,4}"#) {
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
