//! The subset of the OpenTelemetry Transformation Language that conditions are written in.
//!
//! Grammar and meaning follow pkg/ottl of opentelemetry-collector-contrib (LANGUAGE.md and the comparison rules there).

mod enums;
pub mod eval;
mod lexer;
pub mod parser;
pub mod path;
mod source;

pub use parser::Condition;
pub use source::{Bitmap, Judged, Source};

/// A condition: a boolean expression.
#[derive(Debug)]
pub enum Expr {
    /// Any of them.
    Or(Vec<Expr>),
    /// All of them.
    And(Vec<Expr>),
    /// The opposite.
    Not(Box<Expr>),
    /// A comparison of two values.
    Compare(Operand, Comparison, Operand),
    /// A converter that gives a boolean.
    Call(Call),
    /// A constant.
    Bool(bool),
}

/// Something that has a value.
#[derive(Debug)]
pub enum Operand {
    /// A position in the condition's tuple of fields.
    Path(usize),
    /// A constant.
    Literal(Literal),
    /// What a converter gives.
    Call(Box<Call>),
}

/// A constant value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `nil`: absent or empty.
    Nil,
    /// A string.
    Str(String),
    /// `true` or `false`.
    Bool(bool),
    /// An integer or an enum.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Bytes or an id; an id of zeros has none.
    Bytes(Vec<u8>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A converter that gives a boolean.
#[derive(Debug)]
pub enum Call {
    /// A pattern that is found anywhere in the text.
    IsMatch(Operand, go_regex::Regex),
    /// The first begins with the second.
    HasPrefix(Operand, Operand),
    /// The first ends with the second.
    HasSuffix(Operand, Operand),
    /// A value of this kind.
    IsKind(Operand, Kind),
    /// Of the span's parent id.
    IsRootSpan(Operand),
}

/// What `IsString` and its like ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Str,
    /// A boolean.
    Bool,
    /// An integer.
    Int,
    /// A floating point number.
    Double,
    /// A list.
    List,
    /// A map.
    Map,
}

/// What is wrong with a condition, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset in the condition's text.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl SyntaxError {
    /// An error at a byte offset.
    pub fn new(at: usize, message: impl Into<String>) -> Self {
        SyntaxError { at, message: message.into() }
    }

    /// The message, and below it the line of the condition with a caret under the place.
    pub fn render(&self, text: &str) -> String {
        let at = text.floor_char_boundary(self.at);
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[start..].lines().next().unwrap_or_default();
        if line.is_empty() {
            return self.message.clone();
        }
        let column = text[start..at].chars().count();
        format!("{}\n  {line}\n  {:column$}^", self.message, "")
    }
}
