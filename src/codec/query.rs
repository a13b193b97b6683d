//! The query of a request's target.
//!
//! URL Standard section 5.1, `application/x-www-form-urlencoded`: `&` between pairs, `=` after the key, `+` is a space,
//! `%` and two hexadecimal digits are a byte. As in Node the last of repeated keys counts, invalid UTF-8 is replaced
//! and a `%` without its digits stands for itself. The limit of a request's head limits all loops here.

use memchr::{memchr, memchr2};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The pairs of a query, as they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query<'a> {
    pairs: Vec<Pair<'a>>,
}

impl<'a> Query<'a> {
    /// Reads what stands behind the `?`. Every text is a query.
    #[must_use]
    pub fn parse(text: &'a str) -> Query<'a> {
        // A client's own request has five.
        let (mut pairs, mut rest) = (Vec::with_capacity(6), text);
        while !rest.is_empty() {
            let (pair, after) = cut(rest, b'&');
            if !pair.is_empty() {
                let (key, value) = cut(pair, b'=');
                pairs.push(match memchr2(b'%', b'+', pair.as_bytes()) {
                    None => (key.into(), value.into()),
                    Some(_) => (decode(key).into(), decode(value).into()),
                });
            }
            rest = after;
        }
        Query { pairs }
    }

    /// The value of a key: the last one, if there are several.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(known, _)| known == key).map(|(_, value)| &**value)
    }

    /// All pairs, each key once, in alphabetical order. By a tree, because a head has room for thousands of keys: comparing each with each would
    /// cost milliseconds.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.pairs.iter().map(|(key, value)| (&**key, &**value));
        pairs.collect::<BTreeMap<&str, &str>>().into_iter()
    }
}

/// A key and its value.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The text before and behind the first such byte, which is ASCII; nothing is behind one that isn't there.
fn cut(text: &str, byte: u8) -> (&str, &str) {
    let at = memchr(byte, text.as_bytes()).unwrap_or(text.len());
    (text.get(..at).unwrap_or_default(), text.get(at.saturating_add(1)..).unwrap_or_default())
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, escaped(after)) {
            (b'+', _) => bytes.push(b' '),
            (b'%', Some((escaped, after))) => {
                bytes.push(escaped);
                rest = after;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let ([high, low], after) = text.split_first_chunk()?;
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some((digit(*high)? << 4 | digit(*low)?, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors() {
        for (text, want) in [
            ("EIO=4&transport=polling&t=abc", &[("EIO", "4"), ("t", "abc"), ("transport", "polling")][..]),
            ("a=1&a=2&a=3", &[("a", "3")]),
            ("a=b+c%20d%2Be", &[("a", "b c d+e")]),
            ("a%3Db=c=d", &[("a=b", "c=d")]),
            ("a", &[("a", "")]),
            ("=a", &[("", "a")]),
            ("&&a=1&", &[("a", "1")]),
            ("", &[]),
            ("a=%e2%82%AC", &[("a", "€")]),
            ("a=€", &[("a", "€")]),
            ("a=%ff", &[("a", "\u{fffd}")]),
            ("a=%&b=%4&c=%zz&d=%%41", &[("a", "%"), ("b", "%4"), ("c", "%zz"), ("d", "%A")]),
            ("a=%+1", &[("a", "% 1")]),
            ("a=%00%0a", &[("a", "\0\n")]),
            ("transport=__proto__&constructor=1", &[("constructor", "1"), ("transport", "__proto__")]),
        ] {
            let query = Query::parse(text);
            assert_eq!(query.iter().collect::<Vec<_>>(), want, "{text}");
            for (key, value) in want {
                assert_eq!(query.get(key), Some(*value), "{text}");
            }
            assert_eq!(query.get("absent"), None);
        }
    }

    /// `sid` repeated in the query: the last one, everywhere.
    #[test]
    fn repeated_sid() {
        let query = Query::parse("sid=first&EIO=4&sid=second");
        assert_eq!((query.get("sid"), query.iter().count()), (Some("second"), 2));
    }

    proptest! {
        #[test]
        fn any_text_is_a_query(text in ".*") {
            let _ = Query::parse(&text);
        }

        #[test]
        fn round_trip(key in "[^\0]{1,9}", value in ".{0,9}") {
            let escape = |text: &str| text.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
            let text = format!("x=&{}={}", escape(&key), escape(&value));
            let query = Query::parse(&text);
            prop_assert_eq!(query.get(&key), Some(value.as_str()));
        }
    }
}
