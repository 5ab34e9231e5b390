//! The subset of the OpenTelemetry Transformation Language that conditions are written in.
//!
//! Grammar and meaning follow pkg/ottl of opentelemetry-collector-contrib (LANGUAGE.md and the comparison rules there).

mod enums;
pub mod eval;
pub mod lexer;
pub mod parser;
pub mod path;

/// A condition: a boolean expression.
#[derive(Debug)]
pub enum Expr {
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Operand, Comparison, Operand),
    Call(Call),
    Bool(bool),
}

/// Something that has a value.
#[derive(Debug)]
pub enum Operand {
    /// A position in the condition's tuple of fields.
    Path(usize),
    Literal(Literal),
    Call(Box<Call>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Nil,
    Str(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A converter that gives a boolean.
#[derive(Debug)]
pub enum Call {
    IsMatch(Operand, go_regex::Regex),
    HasPrefix(Operand, Operand),
    HasSuffix(Operand, Operand),
    IsKind(Operand, Kind),
    /// Of the span's parent id.
    IsRootSpan(Operand),
}

/// What `IsString` and its like ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Str,
    Bool,
    Int,
    Double,
    List,
    Map,
}

/// What is wrong with a condition, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset in the condition's text.
    pub at: usize,
    pub message: String,
}

impl SyntaxError {
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
