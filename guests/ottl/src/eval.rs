//! What a condition says of a tuple of values: true, false or an error.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;

use sluicebox_guest::Value;

use super::{Call, Comparison, Expr, Kind, Literal, Operand};

/// A condition that cannot be answered for the values at hand. Holds nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalError(pub &'static str);

/// Evaluates from left to right and no further than needed; an error ends it. `read` gives the value at a position of the tuple.
pub fn eval<'a>(expr: &'a Expr, read: &dyn Fn(usize) -> Value<'a>) -> Result<bool, EvalError> {
    match expr {
        Expr::Or(terms) => {
            for term in terms {
                if eval(term, read)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Expr::And(terms) => {
            for term in terms {
                if !eval(term, read)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Expr::Not(inner) => Ok(!eval(inner, read)?),
        Expr::Compare(left, comparison, right) => Ok(compare(value(left, read)?, *comparison, value(right, read)?)),
        Expr::Call(call) => eval_call(call, read),
        Expr::Bool(bool) => Ok(*bool),
    }
}

/// OTTL's comparison rules: values of different types are only ever unequal, except ints with doubles, which compare as doubles; nil
/// equals nil and orders with nothing else; false is less than true; lists and maps have no order.
pub fn compare(left: Value<'_>, comparison: Comparison, right: Value<'_>) -> bool {
    let ordering = match (left, right) {
        (Value::Absent | Value::Empty, Value::Absent | Value::Empty) => Some(Ordering::Equal),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(&right)),
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(&right)),
        (Value::Int(left), Value::Double(right)) => (left as f64).partial_cmp(&right),
        (Value::Double(left), Value::Int(right)) => left.partial_cmp(&(right as f64)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(&right),
        (Value::Str(left), Value::Str(right)) => Some(left.cmp(right)),
        (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
        (Value::Array(left), Value::Array(right)) | (Value::Map(left), Value::Map(right)) => {
            return match comparison {
                Comparison::Equal => left == right,
                Comparison::NotEqual => left != right,
                _ => false,
            };
        }
        _ => None,
    };
    match comparison {
        Comparison::Equal => ordering == Some(Ordering::Equal),
        Comparison::NotEqual => ordering != Some(Ordering::Equal),
        Comparison::Less => ordering == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => ordering == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
    }
}

impl Literal {
    /// As a value; nil is absent.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Literal::Nil => Value::Absent,
            Literal::Str(text) => Value::Str(text),
            Literal::Bool(bool) => Value::Bool(*bool),
            Literal::Int(int) => Value::Int(*int),
            Literal::Double(double) => Value::Double(*double),
            Literal::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

fn value<'a>(operand: &'a Operand, read: &dyn Fn(usize) -> Value<'a>) -> Result<Value<'a>, EvalError> {
    match operand {
        Operand::Path(position) => Ok(read(*position)),
        Operand::Literal(literal) => Ok(literal.as_value()),
        Operand::Call(call) => eval_call(call, read).map(Value::Bool),
    }
}

fn eval_call<'a>(call: &'a Call, read: &dyn Fn(usize) -> Value<'a>) -> Result<bool, EvalError> {
    match call {
        Call::IsMatch(target, regex) => Ok(text_like(value(target, read)?)?.is_some_and(|text| regex.is_match(&text))),
        Call::HasPrefix(target, part) => Ok(text(value(target, read)?)?.starts_with(text(value(part, read)?)?)),
        Call::HasSuffix(target, part) => Ok(text(value(target, read)?)?.ends_with(text(value(part, read)?)?)),
        Call::IsKind(target, kind) => Ok(is_kind(value(target, read)?, *kind)),
        Call::IsRootSpan(parent) => match value(parent, read)? {
            Value::Bytes(id) => Ok(id.iter().all(|byte| *byte == 0)),
            other => Ok(matches!(other, Value::Absent | Value::Empty)),
        },
    }
}

fn is_kind(value: Value<'_>, kind: Kind) -> bool {
    match kind {
        Kind::Str => matches!(value, Value::Str(_)),
        Kind::Bool => matches!(value, Value::Bool(_)),
        Kind::Int => matches!(value, Value::Int(_)),
        Kind::Double => matches!(value, Value::Double(_)),
        Kind::List => matches!(value, Value::Array(_)),
        Kind::Map => matches!(value, Value::Map(_)),
    }
}

/// As OTTL's `StringGetter`: everything but a string is an error.
fn text(value: Value<'_>) -> Result<&str, EvalError> {
    value.as_str().ok_or(EvalError("expected a string"))
}

/// As OTTL's `StringLikeGetter`: bytes in hex, numbers and booleans as in JSON, nil is nothing.
fn text_like(value: Value<'_>) -> Result<Option<Cow<'_, str>>, EvalError> {
    Ok(Some(match value {
        Value::Absent | Value::Empty => return Ok(None),
        Value::Str(text) => Cow::Borrowed(text),
        Value::Bool(bool) => Cow::Borrowed(if bool { "true" } else { "false" }),
        Value::Int(int) => Cow::Owned(int.to_string()),
        Value::Double(double) => Cow::Owned(json_number(double)?),
        Value::Bytes(bytes) => Cow::Owned(hex(bytes)),
        Value::Array(_) | Value::Map(_) => return Err(EvalError("lists and maps have no text")),
        Value::Unknown => return Err(EvalError("a value of an unknown kind")),
    }))
}

/// A number as Go's encoding/json writes it.
fn json_number(double: f64) -> Result<String, EvalError> {
    let size = double.abs();
    if !double.is_finite() {
        Err(EvalError("not a finite number"))
    } else if size != 0.0 && size < 1e-6 {
        Ok(format!("{double:e}"))
    } else if size >= 1e21 {
        Ok(format!("{double:e}").replace('e', "e+"))
    } else {
        Ok(double.to_string())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
