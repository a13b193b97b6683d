//! The arguments of an event or of an acknowledgement.
//!
//! Socket.IO protocol 5, "Packet encoding". They are kept as the JSON text of the array's elements, without its
//! brackets, and passed on byte for byte: a number keeps its digits, an object the order of its keys. What is binary
//! stands beside the text, and `{"_placeholder":true,"num":N}` in the text for attachment N.

use super::{json, to_args};
use bytes::Bytes;
use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::value::{RawValue, Value};
use std::fmt;

/// A list of arguments: `Args::from("hello")` has one, `Args::new()` none.
///
/// ```
/// use rill::Args;
/// let args = Args::from("hello").with_binary(vec![1, 2]);
/// assert_eq!(args.text(), r#""hello",{"_placeholder":true,"num":0}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    text: String,
    attachments: Vec<Bytes>,
    /// Made of a value that has no JSON form.
    broken: bool,
}

impl Args {
    /// No arguments.
    #[must_use]
    pub fn new() -> Args {
        Args::default()
    }

    /// Arguments as `socket_packet::decode` has validated them. With text that it has not seen the getters find
    /// nothing, and receivers get a broken packet.
    #[must_use]
    pub fn from_wire(text: String, attachments: Vec<Bytes>) -> Args {
        Args { text, attachments, broken: false }
    }

    /// The JSON text, without brackets.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the placeholders in the text stand for.
    #[must_use]
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Adds an argument.
    ///
    /// # Errors
    /// The value has no JSON form, for example a map whose keys are no strings.
    pub fn with<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Args, serde_json::Error> {
        let (json, attachments) = to_args::write(value, std::mem::take(&mut self.attachments), false);
        self.attachments = attachments;
        self.push(json?);
        Ok(self)
    }

    /// Adds an argument that is JSON already. An object in it that looks like a placeholder is one as soon as the
    /// list has attachments, so add a client's argument by [`select`](Args::select) or not beside attachments.
    #[must_use]
    pub fn with_json(mut self, json: &RawValue) -> Args {
        self.push(json.get().to_owned());
        self
    }

    /// Adds an argument that is binary.
    #[must_use]
    pub fn with_binary(mut self, data: impl Into<Bytes>) -> Args {
        self.push(placeholder(self.attachments.len()));
        self.attachments.push(data.into());
        self
    }

    /// How many arguments there are.
    #[must_use]
    pub fn len(&self) -> usize {
        json::items(&self.text).count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The JSON text of an argument, as it was sent: a string in it may have half of a surrogate pair, which the other getters replace.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<&RawValue> {
        serde_json::from_str(self.item(i)?).ok()
    }

    /// An argument as a type of yours. Half of a surrogate pair, which a text has that was cut inside an emoji, is read as U+FFFD.
    ///
    /// # Errors
    /// [`ArgsError::Missing`]; [`ArgsError::Other`], which says what was expected and where.
    pub fn parse<T: DeserializeOwned>(&self, i: usize) -> Result<T, ArgsError> {
        let item = self.item(i).ok_or(ArgsError::Missing(i))?;
        to_args::read(item, &self.attachments).map_err(ArgsError::Other)
    }

    /// All arguments at once, as a tuple; there must be as many as it has places.
    ///
    /// ```
    /// let args = rill::Args::from(("Ada", 36));
    /// assert_eq!(args.parse_all::<(String, u8)>()?, ("Ada".to_owned(), 36));
    /// assert!(args.parse_all::<(String,)>().is_err());
    /// # Ok::<(), rill::ArgsError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Args::parse`].
    pub fn parse_all<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        to_args::read(&format!("[{}]", self.text), &self.attachments).map_err(ArgsError::Other)
    }

    /// Made of a value that has no JSON form.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// An argument as a tree. Attachments in it are placeholders.
    #[must_use]
    pub fn value(&self, i: usize) -> Option<Value> {
        json::read(self.item(i)?)
    }

    /// An argument that is a string.
    #[must_use]
    pub fn string(&self, i: usize) -> Option<String> {
        json::read(self.item(i)?)
    }

    /// An argument that is binary.
    #[must_use]
    pub fn binary(&self, i: usize) -> Option<&Bytes> {
        if self.attachments.is_empty() {
            return None;
        }
        let item = self.item(i)?;
        let found = json::placeholders(item, self.attachments.len())?;
        let whole = found.first().filter(|p| p.start == 0 && p.end == item.len())?;
        self.attachments.get(whole.num)
    }

    /// One argument as a list of its own, with the attachments that it uses, numbered from 0.
    #[must_use]
    pub fn select(&self, i: usize) -> Option<Args> {
        let item = self.item(i)?;
        if self.attachments.is_empty() {
            return Some(Args::from_wire(item.to_owned(), Vec::new()));
        }
        let mut args = Args::from_wire(String::with_capacity(item.len()), Vec::new());
        let mut used: Vec<usize> = Vec::new();
        let mut copied = 0;
        for found in json::placeholders(item, self.attachments.len())? {
            let known = used.iter().position(|num| *num == found.num);
            let num = known.unwrap_or(used.len());
            if known.is_none() {
                used.push(found.num);
                args.attachments.push(self.attachments.get(found.num)?.clone());
            }
            args.text.push_str(item.get(copied..found.start)?);
            args.text.push_str(&placeholder(num));
            copied = found.end;
        }
        args.text.push_str(item.get(copied..)?);
        Some(args)
    }

    /// Bytes that it takes.
    pub(crate) fn weight(&self) -> usize {
        self.attachments.iter().fold(self.text.len(), |sum, data| sum.saturating_add(data.len()))
    }

    fn item(&self, i: usize) -> Option<&str> {
        json::items(&self.text).nth(i)
    }

    fn push(&mut self, json: String) {
        match self.text.is_empty() {
            true => self.text = json,
            false => {
                self.text.push(',');
                self.text.push_str(&json);
            }
        }
    }
}

fn placeholder(num: usize) -> String {
    format!("{{\"_placeholder\":true,\"num\":{num}}}")
}

/// Anything that serde can write. A tuple, or an array of fixed length, is several arguments, `()` is none; everything else is one, a `Vec` too.
/// What has no JSON form, such as a map whose keys are no strings, makes a list that [`emit`](crate::Socket::emit) refuses.
impl<T: Serialize> From<T> for Args {
    fn from(value: T) -> Args {
        let (text, attachments) = to_args::write(&value, Vec::new(), true);
        match text {
            Ok(text) => Args { text, attachments, broken: false },
            Err(_) => Args { text: "null".to_owned(), attachments: Vec::new(), broken: true },
        }
    }
}

/// Why an argument is not what was asked for.
#[derive(Debug)]
pub enum ArgsError {
    /// There are not so many arguments.
    Missing(usize),
    /// It is something else; serde says what.
    Other(serde_json::Error),
}

impl fmt::Display for ArgsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgsError::Missing(i) => write!(f, "there is no argument {i}"),
            ArgsError::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ArgsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::to_args::Binary;
    use serde_json::json;

    fn two() -> Vec<Bytes> {
        vec![Bytes::from_static(b"zero"), Bytes::from_static(b"one")]
    }

    #[test]
    fn values_become_arguments() {
        for (args, want) in [
            (Args::from(()), ""),
            (Args::from("a\"€\n"), r#""a\"€\n""#),
            (Args::from(String::from("b")), r#""b""#),
            (Args::from(true), "true"),
            (Args::from(1), "1"),
            (Args::from(-1i64), "-1"),
            (Args::from(u64::MAX), "18446744073709551615"),
            (Args::from(1.5), "1.5"),
            (Args::from(f64::NAN), "null"),
            (Args::from(json!({"b": [1, null]})), r#"{"b":[1,null]}"#),
            (Args::from(Binary(Bytes::from_static(b"x"))), r#"{"_placeholder":true,"num":0}"#),
            (Args::from(("a", 2)), r#""a",2"#),
            (Args::from([1, 2]), "1,2"),
            (Args::from(vec![1, 2]), "[1,2]"),
            (Args::from((vec![(1, 2)],)), "[[1,2]]"),
            (Args::from(None::<u8>), "null"),
            (Args::from(Some(("a", 2))), r#"["a",2]"#),
            (Args::from(("x", [Binary(vec![1].into())])), r#""x",[{"_placeholder":true,"num":0}]"#),
            (Args::new().with(&("a", 2)).unwrap().with(&3).unwrap(), r#"["a",2],3"#),
            (Args::from(1).with_json(&RawValue::from_string("1.0".into()).unwrap()), "1,1.0"),
        ] {
            assert_eq!(args.text(), want);
            assert_eq!(args.is_empty(), want.is_empty());
        }
        let map = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(Args::new().with(&map).is_err());
        assert!(Args::from(map).is_broken() && !Args::from(1).is_broken());
    }

    #[test]
    fn getters() {
        let args = Args::from_wire(r#""a,b", 1.0 ,{"k":"v","k":2},[1e999,"\ud800"]"#.into(), vec![]);
        assert_eq!(args.len(), 4);
        assert_eq!(args.string(0).as_deref(), Some("a,b"));
        assert_eq!(args.string(1), None);
        assert_eq!(args.get(1).unwrap().get(), "1.0");
        assert_eq!(args.value(2), Some(json!({"k": 2})));
        assert!(matches!(args.parse::<(f64, String)>(3), Err(ArgsError::Other(_))), "1e999 fits no type");
        assert!(matches!(args.parse::<u8>(4), Err(ArgsError::Missing(4))));
        assert_eq!(args.get(3).unwrap().get(), r#"[1e999,"\ud800"]"#);
        assert_eq!((args.get(4).is_none(), args.binary(0), args.select(4)), (true, None, None));
        assert_eq!((Args::new().len(), Args::new().select(0)), (0, None));
    }

    #[test]
    fn attachments() {
        let args = Args::from("x").with_binary(vec![1]).with_binary("y");
        assert_eq!(args.text(), r#""x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#);
        assert_eq!(args.binary(0), None);
        assert_eq!(args.binary(1).unwrap()[..], [1]);
        assert_eq!(args.binary(2).unwrap()[..], *b"y");
        assert_eq!(args.len(), 3);
    }

    /// Binary at any depth, in tuples and behind what was there before, and back.
    #[test]
    fn binary_in_types_of_ones_own() {
        let picture = |n: u8| Binary(vec![n].into());
        let value = (1, vec![Some(picture(1)), None], std::collections::BTreeMap::from([("a", picture(2))]));
        let args = Args::new().with_binary(vec![0]).with(&value).unwrap().with_binary(vec![3]);
        let placeholder = |n: usize| format!("{{\"_placeholder\":true,\"num\":{n}}}");
        let [a, b, c, d] = [0, 1, 2, 3].map(placeholder);
        assert_eq!(args.text(), format!("{a},[1,[{b},null],{{\"a\":{c}}}],{d}"));
        assert_eq!(args.attachments().iter().map(|data| data[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
        type Back = (u8, Vec<Option<Binary>>, std::collections::BTreeMap<String, Binary>);
        let (one, list, map) = args.parse::<Back>(1).unwrap();
        assert_eq!((one, list, map["a"].clone()), (1, vec![Some(picture(1)), None], picture(2)));
        assert_eq!(args.parse::<Binary>(2).unwrap(), picture(3));
        // What looks like a placeholder and is none, or where there is no attachment.
        for text in
            ["1", "{}", r#"{"_placeholder":true,"num":9}"#, r#"{"_placeholder":false,"num":0}"#, r#"{"num":0,"x":1}"#]
        {
            for attachments in [vec![], two()] {
                assert!(Args::from_wire(text.into(), attachments).parse::<Binary>(0).is_err(), "{text}");
            }
        }
        // Outside of arguments it is what serde makes of bytes.
        assert_eq!(serde_json::to_string(&picture(7)).unwrap(), "[7]");
    }

    #[test]
    fn one_argument_alone() {
        let text = r#"{"_placeholder":true,"num":0},{"a":{"num":1,"_placeholder":true},"b":[{"_placeholder":true,"num":1}]},3"#;
        let args = Args::from_wire(text.into(), two());
        for (i, want, attachments) in [
            (0, r#"{"_placeholder":true,"num":0}"#, &two()[..1]),
            (1, r#"{"a":{"_placeholder":true,"num":0},"b":[{"_placeholder":true,"num":0}]}"#, &two()[1..]),
            (2, "3", &[]),
        ] {
            let one = args.select(i).unwrap();
            assert_eq!((one.text(), one.attachments()), (want, attachments));
        }
        assert_eq!(args.binary(1), None);
    }

    /// What looks like a placeholder in a plain packet is an object like any other.
    #[test]
    fn placeholder_without_attachments() {
        let text = r#"{"_placeholder":true,"num":9}"#;
        let args = Args::from_wire(text.into(), vec![]);
        assert_eq!((args.binary(0), args.select(0).unwrap().text()), (None, text));
    }

    #[test]
    fn text_that_was_never_validated() {
        for text in ["]", "{", "\"", ",", "{\"_placeholder\":true}", ":", "[}"] {
            let args = Args::from_wire(text.into(), two());
            for i in 0..3 {
                let _ = (args.len(), args.value(i), args.binary(i), args.select(i), args.get(i));
            }
        }
    }
}
