//! A compose file as YAML has it: values with their places, aliases and `<<` resolved.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Spanned, Tagged};

use super::fault::At;

/// A value and where it stands; of an alias or a merged value, where it was defined.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// A value. A number is kept as Go prints it, which is what Compose gives to programs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A mapping in the order of the file; no key is there twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Map(pub(super) Vec<(Key, Node)>);

/// A key of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) at: At,
    pub(super) name: String,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Map {
    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The value of `key`, with the key as it stands.
    pub(super) fn entry(&self, key: &str) -> Option<&(Key, Node)> {
        self.0.iter().find(|(name, _)| name.name == key)
    }

    /// Takes `key` out.
    pub(super) fn remove(&mut self, key: &str) -> Option<Node> {
        let place = self.0.iter().position(|(name, _)| name.name == key)?;
        Some(self.0.remove(place).1)
    }
}

impl Node {
    /// The mapping that it is.
    pub(super) fn map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Any scalar but null as text.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(is) => Some(is.to_string()),
            Value::Number(text) | Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Whether it says nothing: null, false, or empty.
    pub(super) fn says_nothing(&self) -> bool {
        match &self.value {
            Value::Null | Value::Bool(false) => true,
            Value::Text(text) => text.is_empty() || text == "false",
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.0.is_empty(),
            _ => false,
        }
    }

    /// What kind of value it is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tagged<Value>>::deserialize(from)?;
        let at = at(spanned.defined);
        let Tagged(value, tag) = spanned.value;
        match tag.as_deref() {
            Some("!reset" | "!override") => Err(D::Error::custom(format_args!(
                "{TAGGED}{}:{}:the tag {} is only of use in a second file, and one is read",
                at.line,
                at.column,
                tag.unwrap_or_default()
            ))),
            _ => Ok(Self { at, value }),
        }
    }
}

/// The beginning of the message of a refused tag: line, column and message follow, since serde's errors have no place.
pub(super) const TAGGED: &str = "deployer-refused-tag:";

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(as_go_prints(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = from.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = from.next_key::<Spanned<Name>>()? {
            let key = Key {
                at: at(key.defined),
                name: key.value.0,
            };
            map.push((key, from.next_value()?));
        }
        Ok(Value::Map(Map(map)))
    }
}

/// The text of a key, which YAML may take for a number.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Null => Ok(Self("null".to_owned())),
            Value::Bool(is) => Ok(Self(is.to_string())),
            Value::Number(text) | Value::Text(text) => Ok(Self(text)),
            Value::List(_) | Value::Map(_) => Err(D::Error::custom("a key is a list or a mapping")),
        }
    }
}

fn at(location: serde_saphyr::Location) -> At {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    At {
        line: number(location.line()),
        column: number(location.column()),
    }
}

/// A float as Go's `%v` has it: the shortest digits, and an exponent beyond 20 places or below 4.
fn as_go_prints(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    number.to_string()
}
