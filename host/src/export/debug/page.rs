//! A page of indented lines. Texts of telemetry are quoted and escaped: a terminal obeys control characters.

use std::fmt::{self, Write};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::config::model::Verbosity;

/// What is being printed.
pub(super) struct Page {
    text: String,
    verbosity: Verbosity,
}

impl Page {
    pub(super) fn new(verbosity: Verbosity) -> Page {
        Page { text: String::new(), verbosity }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn is_basic(&self) -> bool {
        self.verbosity == Verbosity::Basic
    }

    pub(super) fn is_detailed(&self) -> bool {
        self.verbosity == Verbosity::Detailed
    }

    /// A line, indented by two spaces per depth.
    pub(super) fn line(&mut self, depth: usize, line: impl fmt::Display) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.text, "{:1$}{line}", "", depth * 2);
    }

    /// `name: value`, where the value is there.
    pub(super) fn field<T: fmt::Display>(&mut self, depth: usize, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.line(depth, format_args!("{name}: {value}"));
        }
    }

    pub(super) fn attributes(&mut self, depth: usize, attributes: &[KeyValue]) {
        if attributes.is_empty() {
            return;
        }
        self.line(depth, "attributes:");
        for attribute in attributes {
            self.line(depth + 1, Pair(attribute, ": "));
        }
    }

    pub(super) fn resource(&mut self, resource: Option<&Resource>, schema_url: &str) {
        self.line(0, "resource");
        self.field(1, "schema_url", text(schema_url));
        self.attributes(1, resource.map_or(&[], |resource| &resource.attributes));
    }

    pub(super) fn scope(&mut self, scope: Option<&InstrumentationScope>, schema_url: &str) {
        self.line(1, "scope");
        self.field(2, "schema_url", text(schema_url));
        if let Some(scope) = scope {
            self.field(2, "name", text(&scope.name));
            self.field(2, "version", text(&scope.version));
            self.attributes(2, &scope.attributes);
        }
    }
}

/// A quoted text; None if empty.
pub(super) fn text(text: &str) -> Option<impl fmt::Display + '_> {
    (!text.is_empty()).then(|| format!("{text:?}"))
}

/// None if zero.
pub(super) fn number<N: Default + PartialEq>(number: N) -> Option<N> {
    (number != N::default()).then_some(number)
}

/// Bytes in hex; None if empty.
pub(super) fn id(id: &[u8]) -> Option<Hex<'_>> {
    (!id.is_empty()).then_some(Hex(id))
}

/// Bytes in hex.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Attributes in one line: ` key=value key=value`.
pub(super) struct Inline<'a>(pub(super) &'a [KeyValue]);

impl fmt::Display for Inline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|attribute| write!(f, " {}", Pair(attribute, "=")))
    }
}

struct Pair<'a>(&'a KeyValue, &'static str);

impl fmt::Display for Pair<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.0.key.escape_debug(), self.1, Any(self.0.value.as_ref()))
    }
}

/// A value as JSON would write it, more or less; bytes in hex.
pub(super) struct Any<'a>(pub(super) Option<&'a AnyValue>);

impl fmt::Display for Any<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.and_then(|value| value.value.as_ref()) {
            None => f.write_str("null"),
            Some(Value::StringValue(text)) => write!(f, "{text:?}"),
            Some(Value::BoolValue(value)) => write!(f, "{value}"),
            Some(Value::IntValue(value)) => write!(f, "{value}"),
            Some(Value::DoubleValue(value)) => write!(f, "{value:?}"),
            Some(Value::BytesValue(bytes)) => write!(f, "0x{}", Hex(bytes)),
            Some(Value::StringValueStrindex(index)) => write!(f, "(string {index})"),
            Some(Value::ArrayValue(array)) => list(f, "[", &array.values, "]", |f, value| Any(Some(value)).fmt(f)),
            Some(Value::KvlistValue(map)) => list(f, "{", &map.values, "}", |f, pair| Pair(pair, ": ").fmt(f)),
        }
    }
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    items: &[T],
    close: &str,
    item: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str(open)?;
    for (at, value) in items.iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        item(f, value)?;
    }
    f.write_str(close)
}
