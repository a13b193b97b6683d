//! Walks JSON text that has been validated, without a tree: where an argument ends, where placeholders of attachments
//! stand. And values, where they are read.
//!
//! RFC 8259 for the text; Socket.IO protocol 5, "Packet encoding", for placeholders. A walk over the text, because a
//! visitor of serde would refuse what must pass unchanged (lone surrogates, `1e999`) and one of raw values would read
//! each level anew. Nothing here recurses. Text that is not JSON gives wrong answers, never a panic.

use memchr::memchr;
use serde_core::de::DeserializeOwned;
use serde_json::Value;
use std::borrow::Cow;

/// JSON's white space, which is less than Unicode's.
pub(crate) const SPACE: [char; 4] = [' ', '\n', '\r', '\t'];

/// What a JSON string says; most have no escapes. `None`: it is no string.
pub(crate) fn read_string(json: &str) -> Option<Cow<'_, str>> {
    let quoted = json.strip_prefix('"')?.strip_suffix('"')?;
    match quoted.contains('\\') {
        true => read(json).map(Cow::Owned),
        false => Some(Cow::Borrowed(quoted)),
    }
}

/// A value as a type of Rust; nothing if it is of another.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(&well_formed(text)).ok()
}

/// The text with each half of a surrogate pair that stands alone replaced by U+FFFD: a text that was cut inside an emoji has one. RFC 8259
/// section 8.2 leaves open what they mean, no string of Rust can hold them, and JavaScript puts the same in their place where it writes UTF-8.
pub(crate) fn well_formed(text: &str) -> Cow<'_, str> {
    let (mut mended, mut copied) = (String::new(), 0);
    for at in halves(text) {
        mended.push_str(text.get(copied..at).unwrap_or_default());
        mended.push_str("\\ufffd");
        copied = at.saturating_add(ESCAPE);
    }
    match copied {
        0 => Cow::Borrowed(text),
        _ => {
            mended.push_str(text.get(copied..).unwrap_or_default());
            Cow::Owned(mended)
        }
    }
}

/// The length of `\uXXXX`.
const ESCAPE: usize = 6;

/// Where the escapes of halves of surrogate pairs stand that have no other half.
fn halves(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let mut at: usize = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(at..)?;
            let start = at.saturating_add(memchr(b'\\', rest)?);
            let escapes = bytes.get(start..)?;
            let size = match (unit(escapes), escapes.get(ESCAPE..).and_then(unit)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => ESCAPE.saturating_mul(2),
                (Some(0xd800..=0xdfff), _) => {
                    at = start.saturating_add(ESCAPE);
                    return Some(start);
                }
                // A backslash and what it escapes; the digits of others are passed over as the plain text that they are.
                (Some(_) | None, _) => 2,
            };
            at = start.saturating_add(size);
        }
    })
}

/// The code unit of UTF-16 that an escape with four digits, at the beginning of what is left, stands for.
fn unit(rest: &[u8]) -> Option<u16> {
    let (digits, _) = rest.strip_prefix(b"\\u")?.split_first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit: u16, digit| {
        let digit = char::from(*digit).to_digit(16).and_then(|digit| u16::try_from(digit).ok())?;
        Some(unit << 4 | digit)
    })
}

/// Writes a JSON string, piece by piece; most need no escapes.
pub(crate) fn write_string(text: &str, mut push: impl FnMut(&str)) {
    if text.bytes().any(|b| b < b' ' || b == b'"' || b == b'\\') {
        return push(&Value::from(text).to_string());
    }
    push("\"");
    push(text);
    push("\"");
}

/// The values of a list without its brackets, each without the space around it.
pub(crate) fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut tokens = tokens(text);
    let mut start = match text.trim_matches(SPACE).is_empty() {
        true => None,
        false => Some(0),
    };
    std::iter::from_fn(move || {
        let from = start.take()?;
        let mut depth = 0;
        let comma = tokens.find(|(_, token)| {
            depth = nest(depth, token);
            depth == 0 && *token == ","
        });
        let item = match comma {
            Some((at, _)) => {
                start = Some(at.saturating_add(1));
                text.get(from..at)
            }
            None => text.get(from..),
        };
        item.map(|item| item.trim_matches(SPACE))
    })
}

/// An object that stands for an attachment: `{"_placeholder":true,"num":0}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placeholder {
    /// Where its `{` stands.
    pub(crate) start: usize,
    /// Behind its `}`.
    pub(crate) end: usize,
    /// Which attachment.
    pub(crate) num: usize,
}

/// The placeholders of a text, in order, at any depth; one inside another is not counted. Nothing, if the number of
/// any (also of one inside another) is missing, not an integer, or not below `count`.
pub(crate) fn placeholders(text: &str, count: usize) -> Option<Vec<Placeholder>> {
    let mut found: Vec<Placeholder> = Vec::new();
    let mut open: Vec<Level> = Vec::new();
    let mut last = "";
    for (at, token) in tokens(text) {
        match token {
            "," => {}
            ":" => open.last_mut()?.key = Key::read(last),
            "}" | "]" => {
                let level = open.pop()?;
                if level.marked {
                    let num = level.num.filter(|num| *num < count)?;
                    while found.pop_if(|inner| inner.start > level.start).is_some() {}
                    found.push(Placeholder { start: level.start, end: at.saturating_add(1), num });
                }
            }
            value => {
                if let Some(level) = open.last_mut() {
                    level.take(value);
                }
                if matches!(value, "{" | "[") {
                    open.push(Level { start: at, key: Key::Other, marked: false, num: None });
                }
                last = value;
            }
        }
    }
    Some(found)
}

/// An object or array that is not closed yet. Of repeated keys the last counts, as in JavaScript.
struct Level {
    start: usize,
    key: Key,
    marked: bool,
    num: Option<usize>,
}

impl Level {
    /// Notes the value of the key before it. A key itself comes by here too, while no key waits for its value.
    fn take(&mut self, value: &str) {
        match self.key {
            Key::Placeholder => self.marked = value == "true",
            Key::Num => self.num = value.parse().ok(),
            Key::Other => {}
        }
        self.key = Key::Other;
    }
}

#[derive(Clone, Copy)]
enum Key {
    Placeholder,
    Num,
    Other,
}

impl Key {
    /// A key may be written with escapes: `"n\u0075m"`.
    fn read(token: &str) -> Key {
        match read_string(token).as_deref() {
            Some("_placeholder") => Key::Placeholder,
            Some("num") => Key::Num,
            Some(_) | None => Key::Other,
        }
    }
}

/// The level after a token.
fn nest(depth: usize, token: &str) -> usize {
    match token {
        "{" | "[" => depth.saturating_add(1),
        "}" | "]" => depth.saturating_sub(1),
        _ => depth,
    }
}

/// Brackets, commas, colons, strings with their quotes, and numbers or words; each with the place where it begins.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at: usize = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..)?;
        let trimmed = rest.trim_start_matches(SPACE);
        let start = at.saturating_add(rest.len().saturating_sub(trimmed.len()));
        let size = match trimmed.bytes().next()? {
            b'"' => string(trimmed),
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            _ => trimmed.find([',', ']', '}', ':', ' ', '\n', '\r', '\t']).unwrap_or(trimmed.len()),
        };
        at = start.saturating_add(size);
        Some((start, trimmed.get(..size)?))
    })
}

/// The size of the string that a text begins with, its quotes included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return i.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn items_of_a_list() {
        for (text, want) in [
            ("", &[][..]),
            (" \n", &[]),
            ("1", &["1"]),
            (" 1 , \"a,b\" ", &["1", "\"a,b\""]),
            (r#"{"a":[1,2]},[3,{"b":4}],null"#, &[r#"{"a":[1,2]}"#, r#"[3,{"b":4}]"#, "null"]),
            (r#""\"","\\",",]""#, &[r#""\"""#, r#""\\""#, r#"",]""#]),
            (r#""€",true"#, &["\"€\"", "true"]),
        ] {
            assert_eq!(items(text).collect::<Vec<_>>(), want, "{text}");
        }
    }

    #[test]
    fn placeholders_at_any_depth() {
        let whole = |text: &str, num| Some(vec![Placeholder { start: 0, end: text.len(), num }]);
        for (name, text) in [
            ("as the clients write it", r#"{"_placeholder":true,"num":1}"#),
            ("keys the other way", r#"{"num":1,"_placeholder":true}"#),
            ("with space", "{ \"_placeholder\" : true , \"num\"\t:\n1 }"),
            ("more keys", r#"{"a":[2],"_placeholder":true,"b":{"num":7},"num":1,"c":null}"#),
            ("escaped keys", r#"{"\u005fplaceholder":true,"n\u0075m":1}"#),
            ("last of repeated keys", r#"{"_placeholder":0,"num":9,"_placeholder":true,"num":1}"#),
            ("one in another", r#"{"_placeholder":true,"a":{"_placeholder":true,"num":0},"num":1}"#),
        ] {
            assert_eq!(placeholders(text, 2), whole(text, 1), "{name}");
            assert_eq!(placeholders(text, 1), None, "{name}: no such attachment");
        }
        let text = r#"["_placeholder",true],{"_placeholder":true,"num":0},{"a":[{"_placeholder":true,"num":1}]}"#;
        let found: Vec<_> = placeholders(text, 2).unwrap().iter().map(|p| (p.start, p.num)).collect();
        assert_eq!(found, [(22, 0), (58, 1)]);
    }

    #[test]
    fn not_placeholders() {
        for text in [
            r#"{"_placeholder":false,"num":9}"#,
            r#"{"_placeholder":"true","num":9}"#,
            r#"{"_placeholder":1,"num":9}"#,
            r#"{"_placeholder":[true],"num":9}"#,
            r#"{"_placeholder":true,"_placeholder":{},"num":9}"#,
            r#""{\"_placeholder\":true,\"num\":9}""#,
            r#"["_placeholder",true,"num",9]"#,
            r#"{"a":"_placeholder","b":true,"num":9}"#,
            r#"{"\ud800":true}"#,
        ] {
            assert_eq!(placeholders(text, 1), Some(vec![]), "{text}");
        }
    }

    /// Each half that stands alone, and nothing else.
    #[test]
    fn halves_of_surrogate_pairs() {
        for (json, want) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""hello \uD83D""#, "hello \u{fffd}"),
            (r#""\uDE00 hello""#, "\u{fffd} hello"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ud83d\ud83d\ude00\ude00""#, "\u{fffd}\u{1f600}\u{fffd}"),
            (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83dx\ude00""#, "\u{fffd}x\u{fffd}"),
            (r#""\ud83d\n\ude00""#, "\u{fffd}\n\u{fffd}"),
            (r#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
            (r#""\\ud83d""#, "\\ud83d"),
            (r#""\\\ud83d""#, "\\\u{fffd}"),
            (r#""\"\ud83d\"""#, "\"\u{fffd}\""),
            (r#""\ud800\udbff\udc00\udfff""#, "\u{fffd}\u{10fc00}\u{fffd}"),
            (r#""\ud7ff\ue000""#, "\u{d7ff}\u{e000}"),
            (r#""ud83d\u0000""#, "ud83d\0"),
            (r#""""#, ""),
        ] {
            let read = read_string(json);
            assert_eq!(read.as_deref(), Some(want), "{json}");
            assert_eq!(well_formed(json).len(), json.len(), "{json}: nothing moves");
        }
        for text in
            ["", "\\", "\"\\", "\\u", "\\ud83", "\\ud83d", "\\ud83d\\", "\\ud83d\\u", "\\ud83d\\ude0", "\\ud83€"]
        {
            assert_eq!(well_formed(text).len(), text.len(), "{text}");
        }
    }

    /// A megabyte of halves takes time linear in its size, and so does one of whole pairs.
    #[test]
    fn very_many_halves() {
        for escape in [r"\ud83d", r"\ude00", r"\ud83d\ude00", r"\\", r"\ud83d\"] {
            let text = format!("\"{}n\"", escape.repeat(1_000_000 / escape.len()));
            let start = std::time::Instant::now();
            assert_eq!(well_formed(&text).len(), text.len());
            assert!(start.elapsed().as_millis() < 1_000, "{escape}");
        }
    }

    /// What a string says, by its code units; another way to read it than the one above.
    fn by_units(quoted: &str) -> String {
        let mut units: Vec<u16> = Vec::new();
        let mut chars = quoted.chars();
        while let Some(c) = chars.next() {
            let said = match c {
                '\\' => match chars.next().unwrap() {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let digits: String = chars.by_ref().take(4).collect();
                        units.push(u16::from_str_radix(&digits, 16).unwrap());
                        continue;
                    }
                    other => other,
                },
                c => c,
            };
            units.extend_from_slice(said.encode_utf16(&mut [0; 2]));
        }
        String::from_utf16_lossy(&units)
    }

    proptest! {
        /// Whatever escapes a string has, it is read, and with U+FFFD where a half stands alone.
        #[test]
        fn every_string_is_read(pieces in prop::collection::vec(prop_oneof![
            Just(r"\ud83d".to_owned()), Just(r"\uDE00".to_owned()), Just(r"\\".to_owned()), Just(r#"\""#.to_owned()),
            Just(r"\/".to_owned()), Just("ude00".to_owned()), any::<u16>().prop_map(|unit| format!("\\u{unit:04x}")), "[a€😀]{0,3}",
        ], 0..12)) {
            let quoted = pieces.concat();
            let json = format!("\"{quoted}\"");
            let want = by_units(&quoted);
            prop_assert_eq!(read_string(&json), Some(Cow::Borrowed(&*want)));
            prop_assert_eq!(read::<Value>(&format!("{{{json}:[{json}]}}")), Some(serde_json::json!({(&*want): [&*want]})));
        }

        #[test]
        fn any_text_is_survived(text in r#"([\[\]{},:"\\ 0-9a]|"num"|"_placeholder"|true|€|\\ud8|\\udc00){0,40}"#) {
            items(&text).count();
            placeholders(&text, 1);
            well_formed(&text);
        }
    }
}
