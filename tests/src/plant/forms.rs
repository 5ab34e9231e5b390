//! How a secret is written into a place, and what has to be there afterwards.

use super::{Detector, Holder, Place, Secret, field, number_field};

/// Fields of AnyValue, ArrayValue, KeyValueList and KeyValue (common.proto).
const STRING: u32 = 1;
const INT: u32 = 3;
const ARRAY: u32 = 5;
const MAP: u32 = 6;
const BYTES: u32 = 7;
/// The most lists and maps that a value may be in (wit/telemetry.wit, `contents`).
const NESTING_MAX: u32 = 64;
/// Levels of lists and maps that surely stay within the 100 messages that protobuf's decoders and OTLP/JSON here take in each other.
const READABLE_NESTING_MAX: u32 = 30;
/// A field number that no message of OTLP has.
const FUTURE: u32 = 5_360;

/// How a secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Within text.
    Plain,
    /// The same percent-encoded: all that is no letter or digit, and some that is.
    Percent,
    /// The same percent-encoded, and that percent-encoded again.
    PercentTwice,
    /// In the first of two occurrences of a field of which the last one counts.
    Hidden,
    /// As int_value.
    Int,
    /// Text as bytes_value.
    Bytes,
    /// As a string_value that an int_value after it replaces.
    Replaced,
    /// A string in so many nested lists and maps.
    Deep(u32),
    /// A key in as many.
    DeepKey(u32),
    /// In one list more than anybody judges: the list is removed.
    TooDeep,
    /// ASCII as long as the id that it stands for: it becomes zeros.
    AsId,
    /// ASCII of another length.
    AsOddId,
    /// As a string of a field that OTLP does not have: the field is removed.
    Future,
    /// As a number of such a field.
    FutureInt,
}

/// A secret in its form.
#[derive(Clone, Debug)]
pub struct Plant {
    /// How it is written.
    pub form: Form,
    /// What is written.
    pub secret: Secret,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 16] = [
        Self::Plain,
        Self::Percent,
        Self::PercentTwice,
        Self::Hidden,
        Self::Int,
        Self::Bytes,
        Self::Replaced,
        Self::Deep(8),
        Self::Deep(63),
        Self::Deep(NESTING_MAX),
        Self::DeepKey(8),
        Self::TooDeep,
        Self::AsId,
        Self::AsOddId,
        Self::Future,
        Self::FutureInt,
    ];

    /// Nested so deep that no full decode takes it, and no exporter that needs one.
    pub fn is_unreadable(self) -> bool {
        match self {
            Self::Deep(levels) | Self::DeepKey(levels) => levels > READABLE_NESTING_MAX,
            form => form == Self::TooDeep,
        }
    }

    /// A plant of this form in a place, if the place can have it; `n` picks the secret.
    pub fn plant(self, place: &Place, detector: Detector, n: u64) -> Option<Plant> {
        let fits = match place.holder {
            Holder::Text | Holder::Key => {
                matches!(self, Self::Plain | Self::Percent | Self::PercentTwice | Self::Hidden)
            }
            Holder::Id => matches!(self, Self::AsId | Self::AsOddId),
            Holder::Value => !matches!(self, Self::AsId | Self::AsOddId | Self::Future | Self::FutureInt),
            Holder::Unknown => matches!(self, Self::Future | Self::FutureInt),
        };
        let secret = match self {
            Self::AsId => {
                let length = if place.path.ends_with("trace_id") { 16 } else { 8 };
                detector.secret_of_length(n, length)?
            }
            // Not as long as an id of either kind.
            Self::AsOddId => Some(detector.secret(n)).filter(|secret| ![8, 16].contains(&secret.text.len()))?,
            Self::Int | Self::FutureInt => Some(detector.secret(n)).filter(|secret| secret.number().is_some())?,
            _ => detector.secret(n),
        };
        fits.then_some(Plant { form: self, secret })
    }
}

impl Plant {
    /// Appends the place's fields, as a sender writes them, or with a mask as they have to arrive.
    pub fn write(&self, place: &Place, number: u32, mask: Option<&str>, out: &mut Vec<u8>) {
        match place.holder {
            Holder::Text | Holder::Key => {
                field(out, number, self.text(mask).as_bytes());
                if self.form == Form::Hidden {
                    field(out, number, b"what counts");
                }
            }
            Holder::Id => match mask {
                None => field(out, number, self.secret.text.as_bytes()),
                Some(_) => field(out, number, &vec![0; self.secret.text.len()]),
            },
            Holder::Value => {
                field(out, number, &self.value(mask));
                if self.form == Form::Hidden {
                    field(out, number, &string("what counts"));
                }
            }
            Holder::Unknown => match (mask, self.form, self.secret.number()) {
                (None, Form::FutureInt, Some(secret)) => number_field(out, FUTURE, secret as u64),
                (None, ..) => field(out, FUTURE, self.secret.text.as_bytes()),
                (Some(_), ..) => {}
            },
        }
    }

    /// What is found, with harmless text on both sides.
    fn text(&self, mask: Option<&str>) -> String {
        let encoded = |text: &str| match self.form {
            Form::Percent => percent(text),
            Form::PercentTwice => percent(&percent(text)),
            _ => text.to_owned(),
        };
        let found = match mask {
            Some(mask) => encoded(self.secret.announcement()) + mask,
            None => encoded(&self.secret.text),
        };
        match self.form {
            Form::Percent | Form::PercentTwice => format!("/search?q={found}&lang=en"),
            _ => format!("of {found} as told"),
        }
    }

    /// An AnyValue.
    fn value(&self, mask: Option<&str>) -> Vec<u8> {
        let mut value = Vec::new();
        match (self.form, mask, self.secret.number()) {
            (Form::Int, None, Some(secret)) => number_field(&mut value, INT, secret as u64),
            (Form::Int, Some(mask), _) => field(&mut value, STRING, mask.as_bytes()),
            (Form::Bytes, ..) => field(&mut value, BYTES, self.text(mask).as_bytes()),
            (Form::Replaced, ..) => {
                value = string(&self.text(mask));
                number_field(&mut value, INT, 7);
            }
            (Form::Deep(levels), ..) => value = nested(0, levels, "key", &string(&self.text(mask))),
            (Form::DeepKey(levels), ..) => value = nested(0, levels, &self.text(mask), &string("innermost")),
            // The list below the last that is shown goes, and an empty value stays.
            (Form::TooDeep, Some(_), _) => value = nested(0, NESTING_MAX, "key", &[]),
            (Form::TooDeep, None, _) => value = nested(0, NESTING_MAX + 1, "key", &string(&self.text(mask))),
            _ => value = string(&self.text(mask)),
        }
        value
    }
}

fn string(text: &str) -> Vec<u8> {
    let mut value = Vec::new();
    field(&mut value, STRING, text.as_bytes());
    value
}

/// `innermost` in so many lists and maps by turns, each with something beside it; `key` is that of the innermost map.
fn nested(level: u32, levels: u32, key: &str, innermost: &[u8]) -> Vec<u8> {
    if level == levels {
        return innermost.to_vec();
    }
    let inner = nested(level + 1, levels, key, innermost);
    let mut list = Vec::new();
    let mut value = Vec::new();
    if level.is_multiple_of(2) {
        field(&mut list, 1, &string("beside it"));
        field(&mut list, 1, &inner);
        field(&mut value, ARRAY, &list);
    } else {
        let is_innermost = level + 2 >= levels;
        let mut entry = Vec::new();
        field(&mut entry, 1, if is_innermost { key.as_bytes() } else { b"in between" });
        field(&mut entry, 2, &inner);
        field(&mut list, 1, &entry);
        field(&mut value, MAP, &list);
    }
    value
}

fn percent(text: &str) -> String {
    let encoded = text.bytes().enumerate().map(|(at, byte)| {
        if byte.is_ascii_alphanumeric() && at % 5 != 1 { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    encoded.collect()
}
