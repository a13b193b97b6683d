//! Values of the application's own types as arguments, and back, with what is binary in them.
//!
//! Socket.IO protocol 5, "Packet encoding": binary stands beside the JSON, wherever it was in it. serde knows nothing of that, so [`Binary`]
//! hands its bytes over beside the value that is being written, and finds them again when one is read.

use super::json;
use bytes::Bytes;
use serde_core::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_core::ser::{Serialize, SerializeMap, SerializeTuple, Serializer};
use serde_json::Error;
use std::cell::Cell;
use std::fmt;

thread_local! {
    /// The attachments of the value that is being written.
    static WRITTEN: Cell<Option<Vec<Bytes>>> = const { Cell::new(None) };
    /// Those of the value that is being read.
    static READ: Cell<Option<Vec<Bytes>>> = const { Cell::new(None) };
}

/// Binary data in arguments, at any depth of a type of yours: clients get a `Buffer` or an `ArrayBuffer`, and send one.
///
/// ```
/// use rill::{Args, Binary};
///
/// let args = Args::from(("picture", Binary(vec![1, 2, 3].into())));
/// assert_eq!(args.attachments().len(), 1);
/// let (name, Binary(data)) = args.parse_all::<(String, Binary)>()?;
/// assert_eq!((name.as_str(), &data[..]), ("picture", &[1, 2, 3][..]));
/// # Ok::<(), rill::ArgsError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Binary(pub Bytes);

impl Serialize for Binary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = WRITTEN.take();
        let num = all.as_mut().map(|all| {
            all.push(self.0.clone());
            all.len().saturating_sub(1)
        });
        WRITTEN.set(all);
        let Some(num) = num else { return serializer.serialize_bytes(&self.0) };
        let mut placeholder = serializer.serialize_map(Some(2))?;
        placeholder.serialize_entry("_placeholder", &true)?;
        placeholder.serialize_entry("num", &num)?;
        placeholder.end()
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Binary, D::Error> {
        deserializer.deserialize_map(Placeholder)
    }
}

struct Placeholder;

impl<'de> Visitor<'de> for Placeholder {
    type Value = Binary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("binary data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Binary, A::Error> {
        let (mut placeholder, mut num) = (false, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "_placeholder" => placeholder = map.next_value()?,
                "num" => num = Some(map.next_value::<usize>()?),
                _ => return Err(de::Error::custom("expected binary data")),
            }
        }
        let all = READ.take();
        let found = num.filter(|_| placeholder).and_then(|num| all.as_ref()?.get(num).cloned());
        READ.set(all);
        found.map(Binary).ok_or_else(|| de::Error::custom("expected binary data"))
    }
}

/// The JSON text of a value, with its binary behind `attachments`. `list`: a tuple is not one argument but several.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    attachments: Vec<Bytes>,
    list: bool,
) -> (Result<String, Error>, Vec<Bytes>) {
    let before = WRITTEN.replace(Some(attachments));
    let (mut one, mut several) = (Json::new(Vec::with_capacity(64)), None);
    let written = match list {
        true => value.serialize(List { one: &mut one, several: &mut several }),
        false => value.serialize(&mut one),
    };
    let attachments = WRITTEN.replace(before).unwrap_or_default();
    let text = written.and_then(|()| {
        let text = several.unwrap_or_else(|| one.into_inner());
        String::from_utf8(text).map_err(|_| serde_core::ser::Error::custom("not UTF-8"))
    });
    (text, attachments)
}

/// Reads a value whose placeholders stand for `attachments`.
pub(super) fn read<T: DeserializeOwned>(text: &str, attachments: &[Bytes]) -> Result<T, Error> {
    if attachments.is_empty() {
        return serde_json::from_str(&json::well_formed(text));
    }
    let before = READ.replace(Some(attachments.to_vec()));
    let value = serde_json::from_str(&json::well_formed(text));
    READ.set(before);
    value
}

type Json = serde_json::Serializer<Vec<u8>>;
type One<'a> = &'a mut Json;

/// Writes a value, or, of a tuple, the elements.
struct List<'a> {
    one: One<'a>,
    several: &'a mut Option<Vec<u8>>,
}

/// The elements of a tuple, with commas between them.
struct Elements<'a>(&'a mut Vec<u8>);

impl SerializeTuple for Elements<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        serde_json::to_writer(&mut *self.0, value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Everything but tuples and `()` as serde_json has it.
impl<'a> Serializer for List<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = <One<'a> as Serializer>::SerializeSeq;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = <One<'a> as Serializer>::SerializeTupleStruct;
    type SerializeTupleVariant = <One<'a> as Serializer>::SerializeTupleVariant;
    type SerializeMap = <One<'a> as Serializer>::SerializeMap;
    type SerializeStruct = <One<'a> as Serializer>::SerializeStruct;
    type SerializeStructVariant = <One<'a> as Serializer>::SerializeStructVariant;

    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, Error> {
        Ok(Elements(self.several.insert(Vec::new())))
    }

    fn serialize_unit(self) -> Result<(), Error> {
        *self.several = Some(Vec::new());
        Ok(())
    }

    fn serialize_bool(self, v: bool) -> Result<(), Error> {
        self.one.serialize_bool(v)
    }

    fn serialize_i8(self, v: i8) -> Result<(), Error> {
        self.one.serialize_i8(v)
    }

    fn serialize_i16(self, v: i16) -> Result<(), Error> {
        self.one.serialize_i16(v)
    }

    fn serialize_i32(self, v: i32) -> Result<(), Error> {
        self.one.serialize_i32(v)
    }

    fn serialize_i64(self, v: i64) -> Result<(), Error> {
        self.one.serialize_i64(v)
    }

    fn serialize_i128(self, v: i128) -> Result<(), Error> {
        self.one.serialize_i128(v)
    }

    fn serialize_u8(self, v: u8) -> Result<(), Error> {
        self.one.serialize_u8(v)
    }

    fn serialize_u16(self, v: u16) -> Result<(), Error> {
        self.one.serialize_u16(v)
    }

    fn serialize_u32(self, v: u32) -> Result<(), Error> {
        self.one.serialize_u32(v)
    }

    fn serialize_u64(self, v: u64) -> Result<(), Error> {
        self.one.serialize_u64(v)
    }

    fn serialize_u128(self, v: u128) -> Result<(), Error> {
        self.one.serialize_u128(v)
    }

    fn serialize_f32(self, v: f32) -> Result<(), Error> {
        self.one.serialize_f32(v)
    }

    fn serialize_f64(self, v: f64) -> Result<(), Error> {
        self.one.serialize_f64(v)
    }

    fn serialize_char(self, v: char) -> Result<(), Error> {
        self.one.serialize_char(v)
    }

    fn serialize_str(self, v: &str) -> Result<(), Error> {
        self.one.serialize_str(v)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Error> {
        self.one.serialize_bytes(v)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.one.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.one.serialize_some(value)
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Error> {
        self.one.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(self, name: &'static str, index: u32, variant: &'static str) -> Result<(), Error> {
        self.one.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Error> {
        self.one.serialize_newtype_struct(name, value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.one.serialize_newtype_variant(name, index, variant, value)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        self.one.serialize_seq(len)
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeTupleStruct, Error> {
        self.one.serialize_tuple_struct(name, len)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        self.one.serialize_tuple_variant(name, index, variant, len)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, Error> {
        self.one.serialize_map(len)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, Error> {
        self.one.serialize_struct(name, len)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        self.one.serialize_struct_variant(name, index, variant, len)
    }
}
