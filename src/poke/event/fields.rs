//! The few fields of an event that a listener reads, out of JSON of any size. The rest is for the command, and costs no
//! memory here: as a tree, an event could take thirty times its own size.

use std::{collections::BTreeMap, fmt};

use actix_web::web::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The names of those fields, of Noah's events and of CloudEvents.
const READ: [&str; 12] = [
    "action",
    "cause",
    "data",
    "id",
    "noahrevision",
    "path",
    "pubcategory",
    "revision",
    "source",
    "specversion",
    "subject",
    "type",
];

/// A JSON object, as far as it is read. Of a name that is there twice, the last counts.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<&'static str, Field>);

/// A value, as far as it can be one of a field that is read.
#[derive(Debug)]
enum Field {
    Text(String),
    Number(u64),
    Object(Fields),
    Other,
}

impl Fields {
    /// Reads a JSON object; `None` when it is something else.
    pub(super) fn parse(json: &Bytes) -> Option<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let fields = deserializer.deserialize_map(Object).ok()?;
        deserializer.end().ok().map(|()| fields)
    }

    /// A field that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Field::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A field that is a number: not below zero, and without a fraction.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name)? {
            Field::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A field that is an object.
    pub(super) fn object(&self, name: &str) -> Option<&Self> {
        match self.0.get(name)? {
            Field::Object(fields) => Some(fields),
            _ => None,
        }
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            match READ.iter().find(|read| **read == name) {
                Some(read) => drop(fields.0.insert(read, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
        Ok(Field::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Field, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field, A::Error> {
        Object.visit_map(map).map(Field::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_found_among_anything_else() {
        let json = br#"{"x":[{"action":1}],"action":"a","action":"b","revision":7,"path":[1,{}],"id":-1,"subject":null,
            "source":1.5,"type":true,"data":{"cause":"c","y":{"cause":"d"}}}"#;
        let fields = Fields::parse(&Bytes::from_static(json)).unwrap();
        assert_eq!((fields.text("action"), fields.number("revision")), (Some("b"), Some(7)));
        assert_eq!(fields.object("data").and_then(|data| data.text("cause")), Some("c"));
        for name in ["path", "id", "subject", "source", "type", "x"] {
            assert!(fields.text(name).is_none() && fields.number(name).is_none(), "{name}");
        }
        for none in ["", "[]", "null", "{", "{} {}", "7"] {
            assert!(Fields::parse(&Bytes::from_static(none.as_bytes())).is_none(), "{none}");
        }
    }
}
