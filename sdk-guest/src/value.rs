use crate::host;

/// A value of a field. Kinds matter: the int 200 is not the string "200".
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The row does not have the field.
    Absent,
    /// A string.
    Str(&'a str),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes, or a string that is not valid UTF-8.
    Bytes(&'a [u8]),
    /// An array, as the bytes of an OTLP `AnyValue` message.
    Array(&'a [u8]),
    /// A map, as the bytes of an OTLP `AnyValue` message.
    Map(&'a [u8]),
    /// There, but without a value.
    Empty,
    /// Of a kind that this version does not know; to be left alone.
    Unknown,
}

impl<'a> Value<'a> {
    /// The text, if it is a string.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// True where the field is absent.
    pub fn is_absent(self) -> bool {
        matches!(self, Value::Absent)
    }

    /// A string where it is valid UTF-8.
    pub(crate) fn text(bytes: &'a [u8]) -> Value<'a> {
        std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Str)
    }

    pub(crate) fn decode(kind: u8, bytes: &'a [u8]) -> Value<'a> {
        match kind {
            0 => Value::Absent,
            1 => Value::text(bytes),
            2 => Value::Bool(bytes.first().is_some_and(|byte| *byte != 0)),
            3 => bytes.try_into().map_or(Value::Unknown, |bytes| Value::Int(i64::from_le_bytes(bytes))),
            4 => bytes.try_into().map_or(Value::Unknown, |bytes| Value::Double(f64::from_le_bytes(bytes))),
            5 => Value::Bytes(bytes),
            6 => Value::Array(bytes),
            7 => Value::Map(bytes),
            8 => Value::Empty,
            _ => Value::Unknown,
        }
    }
}

impl PartialEq<str> for Value<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<i64> for Value<'_> {
    fn eq(&self, other: &i64) -> bool {
        matches!(self, Value::Int(int) if int == other)
    }
}

impl PartialEq<f64> for Value<'_> {
    fn eq(&self, other: &f64) -> bool {
        matches!(self, Value::Double(double) if double == other)
    }
}

impl PartialEq<bool> for Value<'_> {
    fn eq(&self, other: &bool) -> bool {
        matches!(self, Value::Bool(bool) if bool == other)
    }
}

/// The different values that a field has in a batch, each once. Entry 0 is always there and absent.
#[derive(Clone, Debug)]
pub struct Values {
    column: host::Values,
    arity: usize,
}

impl Values {
    pub(crate) fn new(column: host::Values, arity: usize) -> Values {
        Values { column, arity: arity.max(1) }
    }

    pub(crate) fn lists(&self) -> &host::Values {
        &self.column
    }

    pub(crate) fn arity(&self) -> usize {
        self.arity
    }

    /// How many entries, the absent one included.
    pub fn len(&self) -> usize {
        self.column.kinds.len() / self.arity
    }

    /// Never true: entry 0 is always there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An entry; past the end, absent.
    pub fn tuple(&self, entry: usize) -> Tuple<'_> {
        Tuple { values: self, first: entry.saturating_mul(self.arity) }
    }

    /// The value of an entry of a field with one path (of a tuple, the first).
    pub fn get(&self, entry: usize) -> Value<'_> {
        self.tuple(entry).get(0)
    }

    /// All entries of a field with one path, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value<'_>> {
        (0..self.len()).map(|entry| self.get(entry))
    }

    /// All entries, in order.
    pub fn tuples(&self) -> impl ExactSizeIterator<Item = Tuple<'_>> {
        (0..self.len()).map(|entry| self.tuple(entry))
    }

    fn at(&self, position: usize) -> Value<'_> {
        let column = &self.column;
        let (Some(kind), Some(start), Some(end)) =
            (column.kinds.get(position), column.offsets.get(position), column.offsets.get(position + 1))
        else {
            return Value::Absent;
        };
        let bytes = column.bytes.get(*start as usize..*end as usize);
        bytes.map_or(Value::Unknown, |bytes| Value::decode(*kind, bytes))
    }
}

/// One entry of a tuple of fields: a value for each path, in the order in which they were opened.
#[derive(Clone, Copy, Debug)]
pub struct Tuple<'a> {
    values: &'a Values,
    first: usize,
}

impl<'a> Tuple<'a> {
    /// The value for the path at `position`; past the end, absent.
    pub fn get(self, position: usize) -> Value<'a> {
        if position < self.values.arity { self.values.at(self.first + position) } else { Value::Absent }
    }

    /// True where it is absent for all paths.
    pub fn is_absent(self) -> bool {
        (0..self.len()).all(|position| self.get(position).is_absent())
    }

    /// How many paths.
    pub fn len(self) -> usize {
        self.values.arity
    }

    /// Never true: there is at least one path.
    pub fn is_empty(self) -> bool {
        false
    }
}
