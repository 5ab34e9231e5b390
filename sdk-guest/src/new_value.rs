use crate::{Value, any_value, host};

/// An owned value to be written; of the same kinds as [`Value`].
#[derive(Clone, Debug, PartialEq)]
pub enum NewValue {
    /// Setting it removes the field; inserting it does nothing.
    Absent,
    /// A string.
    Str(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An array, as the bytes of an OTLP `AnyValue` message; see [`NewValue::array`].
    Array(Vec<u8>),
    /// A map, as the bytes of an OTLP `AnyValue` message; see [`NewValue::map`].
    Map(Vec<u8>),
    /// There, but without a value.
    Empty,
    /// Of a kind that this version does not know; writing it does nothing.
    Unknown,
}

impl NewValue {
    /// An array of these elements; what is absent in it is empty.
    pub fn array<T: Into<NewValue>>(elements: impl IntoIterator<Item = T>) -> NewValue {
        let elements: Vec<NewValue> = elements.into_iter().map(Into::into).collect();
        NewValue::Array(any_value::write_array(elements.iter().map(NewValue::as_value)))
    }

    /// A map of these entries, in this order; what is absent in it is empty.
    pub fn map<K: AsRef<str>, T: Into<NewValue>>(entries: impl IntoIterator<Item = (K, T)>) -> NewValue {
        let entries: Vec<(K, NewValue)> = entries.into_iter().map(|(key, value)| (key, value.into())).collect();
        let entries = entries.iter().map(|(key, value)| (key.as_ref().as_bytes(), value.as_value()));
        NewValue::Map(any_value::write_map(entries))
    }

    /// The same value, borrowed.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            NewValue::Absent => Value::Absent,
            NewValue::Str(text) => Value::Str(text),
            NewValue::Bool(bool) => Value::Bool(*bool),
            NewValue::Int(int) => Value::Int(*int),
            NewValue::Double(double) => Value::Double(*double),
            NewValue::Bytes(bytes) => Value::Bytes(bytes),
            NewValue::Array(any) => Value::Array(any),
            NewValue::Map(any) => Value::Map(any),
            NewValue::Empty => Value::Empty,
            NewValue::Unknown => Value::Unknown,
        }
    }
}

impl From<Value<'_>> for NewValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Absent => NewValue::Absent,
            Value::Str(text) => NewValue::Str(text.to_owned()),
            Value::Bool(bool) => NewValue::Bool(bool),
            Value::Int(int) => NewValue::Int(int),
            Value::Double(double) => NewValue::Double(double),
            Value::Bytes(bytes) => NewValue::Bytes(bytes.to_vec()),
            Value::Array(any) => NewValue::Array(any.to_vec()),
            Value::Map(any) => NewValue::Map(any.to_vec()),
            Value::Empty => NewValue::Empty,
            Value::Unknown => NewValue::Unknown,
        }
    }
}

impl From<&str> for NewValue {
    fn from(text: &str) -> Self {
        NewValue::Str(text.to_owned())
    }
}

impl From<String> for NewValue {
    fn from(text: String) -> Self {
        NewValue::Str(text)
    }
}

impl From<&[u8]> for NewValue {
    fn from(bytes: &[u8]) -> Self {
        NewValue::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for NewValue {
    fn from(bytes: [u8; N]) -> Self {
        NewValue::Bytes(bytes.to_vec())
    }
}

impl From<bool> for NewValue {
    fn from(bool: bool) -> Self {
        NewValue::Bool(bool)
    }
}

impl From<i64> for NewValue {
    fn from(int: i64) -> Self {
        NewValue::Int(int)
    }
}

impl From<f64> for NewValue {
    fn from(double: f64) -> Self {
        NewValue::Double(double)
    }
}

/// Values to be written, in the lists that the host takes.
pub(crate) struct Column {
    pub(crate) lists: host::Values,
}

impl Column {
    pub(crate) fn new() -> Column {
        Column { lists: host::Values { kinds: Vec::new(), offsets: vec![0], bytes: Vec::new() } }
    }

    /// The only value.
    pub(crate) fn of(value: Value<'_>) -> Column {
        let mut column = Column::new();
        column.push(value);
        column
    }

    pub(crate) fn push(&mut self, value: Value<'_>) {
        let bytes = &mut self.lists.bytes;
        let kind = match value {
            Value::Absent | Value::Unknown => 0,
            Value::Str(text) => {
                bytes.extend(text.as_bytes());
                1
            }
            Value::Bool(bool) => {
                bytes.push(u8::from(bool));
                2
            }
            Value::Int(int) => {
                bytes.extend(int.to_le_bytes());
                3
            }
            Value::Double(double) => {
                bytes.extend(double.to_le_bytes());
                4
            }
            Value::Bytes(raw) => {
                bytes.extend(raw);
                5
            }
            Value::Array(any) => {
                bytes.extend(any);
                6
            }
            Value::Map(any) => {
                bytes.extend(any);
                7
            }
            Value::Empty => 8,
        };
        self.lists.kinds.push(kind);
        self.lists.offsets.push(self.lists.bytes.len() as u32);
    }
}
