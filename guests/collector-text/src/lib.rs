//! Values as text, in the Collector's forms (pdata's `Value.AsString`, Go's `encoding/json`).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sluicebox_guest::Value;

/// Deeper than this a list or map has no text.
const DEPTH_MAX: u32 = 64;

/// Any value: lists and maps as JSON with sorted keys, bytes as base64, what is empty or absent as nothing.
pub fn of(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => text.to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Double(double) if !double.is_finite() => format!("json: unsupported value: {}", not_finite(double)),
        Value::Double(double) => finite(double),
        Value::Bytes(bytes) => STANDARD.encode(bytes),
        Value::Array(_) | Value::Map(_) => {
            let mut out = String::new();
            if json(value, DEPTH_MAX, &mut out).is_some() { out } else { String::new() }
        }
        Value::Absent | Value::Empty | Value::Unknown => String::new(),
    }
}

/// What attributes are matched as: None of those that are neither text, number nor bool.
pub fn to_match(value: Value<'_>) -> Option<String> {
    match value {
        Value::Double(double) if !double.is_finite() => Some(not_finite(double).to_owned()),
        Value::Double(double) => Some(double.to_string()),
        Value::Str(_) | Value::Bool(_) | Value::Int(_) => Some(of(value)),
        _ => None,
    }
}

/// None where JSON has no form for it: numbers that are not finite, and what is nested too deep.
fn json(value: Value<'_>, depth_left: u32, out: &mut String) -> Option<()> {
    let depth_left = depth_left.checked_sub(1)?;
    match value {
        Value::Array(_) => {
            out.push('[');
            for (index, element) in value.elements().enumerate() {
                comma(index, out);
                json(element, depth_left, out)?;
            }
            out.push(']');
        }
        Value::Map(_) => {
            // Of a key that is there twice the last counts.
            let entries: BTreeMap<String, Value<'_>> = value.entries().map(|(key, value)| (of(key), value)).collect();
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                comma(index, out);
                string(key, out);
                out.push(':');
                json(*value, depth_left, out)?;
            }
            out.push('}');
        }
        Value::Str(text) => string(text, out),
        Value::Bytes(_) => string(&of(value), out),
        Value::Double(double) if !double.is_finite() => return None,
        Value::Absent | Value::Empty | Value::Unknown => out.push_str("null"),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => out.push_str(&of(value)),
    }
    Some(())
}

fn comma(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

/// Go escapes what could end a script or a line in HTML and JavaScript.
fn string(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            char => out.push(char),
        }
    }
    out.push('"');
}

/// As Go's JSON: with an exponent below 1e-6 and from 1e21 on.
fn finite(double: f64) -> String {
    let size = double.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return double.to_string();
    }
    let text = format!("{double:e}");
    // Go writes the sign of the exponent always.
    if size < 1.0 { text } else { text.replace('e', "e+") }
}

fn not_finite(double: f64) -> &'static str {
    match (double.is_nan(), double > 0.0) {
        (true, _) => "NaN",
        (false, true) => "+Inf",
        (false, false) => "-Inf",
    }
}

#[cfg(test)]
mod tests {
    use sluicebox_guest::NewValue;

    use super::*;

    /// Forms that Go 1.25 prints.
    #[test]
    fn numbers_are_written_as_go_writes_them() {
        let doubles = [
            (1.0, "1"),
            (-0.5, "-0.5"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (123_456_789e12, "123456789000000000000"),
            (1e21, "1e+21"),
            (-2.5e300, "-2.5e+300"),
            (f64::NEG_INFINITY, "json: unsupported value: -Inf"),
        ];
        for (double, text) in doubles {
            assert_eq!(of(Value::Double(double)), text);
        }
    }

    #[test]
    fn lists_and_maps_are_json_with_sorted_keys() {
        let list = NewValue::array::<NewValue>([NewValue::Bytes(vec![0, 255]), NewValue::Empty, 0.5.into()]);
        let map = NewValue::map([("b", list), ("a<", "x\n\u{1}\"é".into()), ("b2", true.into())]);
        assert_eq!(of(map.as_value()), r#"{"a\u003c":"x\n\u0001\"é","b":["AP8=",null,0.5],"b2":true}"#);
        assert_eq!(of(NewValue::array([f64::NAN]).as_value()), "");
    }
}
