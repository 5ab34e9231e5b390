//! Tokens to a condition.

use go_regex::Regex;
use sluicebox_guest::Level;

use super::lexer::{Spanned, Token, tokens};
use super::path::{self, Path, Scope};
use super::{Call, Expr, Kind, Literal, Operand, SyntaxError, enums};

/// How deep parentheses and functions may nest, so that a condition cannot exhaust the stack.
const DEPTH_MAX: usize = 64;

/// What conditions are made of, for messages.
const SUPPORTED: &str = "there are IsMatch, HasPrefix, HasSuffix, IsString, IsBool, IsInt, IsDouble, IsList, IsMap, IsRootSpan, TraceID and SpanID";

/// A parsed condition.
#[derive(Debug)]
pub struct Condition {
    /// What is evaluated.
    pub expr: Expr,
    /// The fields it reads, each once; operands refer to them by position.
    pub paths: Vec<Path>,
    /// Where each of them stands first, in bytes.
    pub places: Vec<usize>,
}

/// Parses a condition.
pub fn parse(text: &str, scope: Scope) -> Result<Condition, SyntaxError> {
    if text.trim().is_empty() {
        return Err(SyntaxError::new(0, "the condition is empty"));
    }
    let mut parser = Parser::new(text, scope)?;
    let expr = parser.or()?;
    match parser.peek() {
        Token::End => Ok(Condition { expr, paths: parser.paths, places: parser.places }),
        Token::Name(name) if name == "where" => Err(parser.error("a condition has no `where`; write what follows it")),
        _ => Err(parser.unexpected("`and`, `or` or the end")),
    }
}

/// Parses a path that stands alone.
pub fn path(text: &str, scope: Scope) -> Result<Path, SyntaxError> {
    let mut parser = Parser::new(text, scope)?;
    let Token::Name(first) = parser.peek().clone() else { return Err(parser.unexpected("a path")) };
    parser.path(&first)?;
    let path = parser.paths.pop().filter(|_| *parser.peek() == Token::End);
    path.ok_or_else(|| parser.unexpected("the end"))
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Spanned>,
    next: usize,
    depth: usize,
    scope: Scope,
    paths: Vec<Path>,
    places: Vec<usize>,
}

impl Parser<'_> {
    fn new(text: &str, scope: Scope) -> Result<Parser<'_>, SyntaxError> {
        Ok(Parser { text, tokens: tokens(text)?, next: 0, depth: 0, scope, paths: Vec::new(), places: Vec::new() })
    }

    fn or(&mut self) -> Result<Expr, SyntaxError> {
        let mut terms = vec![self.and()?];
        while self.take_name("or") {
            terms.push(self.and()?);
        }
        Ok(if terms.len() > 1 { Expr::Or(terms) } else { terms.remove(0) })
    }

    fn and(&mut self) -> Result<Expr, SyntaxError> {
        let mut terms = vec![self.not()?];
        while self.take_name("and") {
            terms.push(self.not()?);
        }
        Ok(if terms.len() > 1 { Expr::And(terms) } else { terms.remove(0) })
    }

    fn not(&mut self) -> Result<Expr, SyntaxError> {
        if self.take_name("not") { Ok(Expr::Not(Box::new(self.boolean()?))) } else { self.boolean() }
    }

    /// A comparison, a call, `true`, `false` or an expression in parentheses.
    fn boolean(&mut self) -> Result<Expr, SyntaxError> {
        if self.take_punct('(') {
            self.enter()?;
            let inner = self.or()?;
            self.depth -= 1;
            self.expect(')')?;
            return Ok(inner);
        }
        let left = self.operand()?;
        if let Token::Comparison(comparison) = *self.peek() {
            self.next += 1;
            return Ok(Expr::Compare(left, comparison, self.operand()?));
        }
        match left {
            Operand::Call(call) => Ok(Expr::Call(*call)),
            Operand::Literal(Literal::Bool(bool)) => Ok(Expr::Bool(bool)),
            Operand::Literal(_) | Operand::Path(_) => {
                Err(self.unexpected("a comparison (`==`, `!=`, `<`, `<=`, `>`, `>=`)"))
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, SyntaxError> {
        let literal = match self.peek().clone() {
            Token::Str(text) => Literal::Str(text),
            Token::Int(int) => Literal::Int(int),
            Token::Double(double) => Literal::Double(double),
            Token::Bytes(bytes) => Literal::Bytes(bytes),
            Token::Name(name) => match name.as_str() {
                "nil" => Literal::Nil,
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "and" | "or" | "not" => return Err(self.unexpected("a value")),
                _ if self.tokens[self.next + 1].token == Token::Punct('(') => return self.call(&name),
                _ if name.starts_with(|c: char| c.is_ascii_uppercase()) => match enums::value(&name) {
                    Some(value) => Literal::Int(value),
                    None => return Err(self.error(format!("no enum is called `{name}`"))),
                },
                _ => return self.path(&name),
            },
            Token::Punct('[') => return Err(self.error("lists are not supported")),
            _ => return Err(self.unexpected("a path or a value")),
        };
        self.next += 1;
        Ok(Operand::Literal(literal))
    }

    fn path(&mut self, first: &str) -> Result<Operand, SyntaxError> {
        let at = self.at();
        self.next += 1;
        let mut rest = String::new();
        loop {
            if self.take_punct('.') {
                let Token::Name(name) = self.peek() else { return Err(self.unexpected("a field's name")) };
                rest.push('.');
                rest.push_str(name);
                self.next += 1;
            } else if self.take_punct('[') {
                match self.peek() {
                    Token::Str(key) => rest.push_str(&path::key(key)),
                    Token::Int(index) if *index >= 0 => rest.push_str(&format!("[{index}]")),
                    _ => return Err(self.unexpected("a key, such as `\"http.route\"`")),
                }
                self.next += 1;
                self.expect(']')?;
            } else {
                break;
            }
        }
        let path = Path::complete(first, &rest, self.scope).map_err(|message| SyntaxError::new(at, message))?;
        Ok(self.read(path, at))
    }

    /// The operand that reads a path, which stands at `at`.
    fn read(&mut self, path: Path, at: usize) -> Operand {
        let position = self.paths.iter().position(|has| *has == path);
        Operand::Path(position.unwrap_or_else(|| {
            self.paths.push(path);
            self.places.push(at);
            self.paths.len() - 1
        }))
    }

    fn call(&mut self, name: &str) -> Result<Operand, SyntaxError> {
        let at = self.at();
        self.enter()?;
        self.next += 1;
        self.expect('(')?;
        let operand = match name {
            "TraceID" => self.id(16)?,
            "SpanID" => self.id(8)?,
            _ => Operand::Call(Box::new(self.converter(name, at)?)),
        };
        self.depth -= 1;
        self.expect(')')?;
        Ok(operand)
    }

    /// The arguments of a converter that gives a boolean.
    fn converter(&mut self, name: &str, at: usize) -> Result<Call, SyntaxError> {
        match name {
            "IsMatch" => {
                let target = self.operand()?;
                self.expect(',')?;
                Ok(Call::IsMatch(target, self.pattern()?))
            }
            "HasPrefix" | "HasSuffix" => {
                let target = self.operand()?;
                self.expect(',')?;
                let part = self.operand()?;
                Ok(if name == "HasPrefix" { Call::HasPrefix(target, part) } else { Call::HasSuffix(target, part) })
            }
            "IsRootSpan" => Ok(Call::IsRootSpan(self.parent_span_id(at)?)),
            "Contains" => Err(SyntaxError::new(
                at,
                "OTTL has no function `Contains`; for a part of a text use `IsMatch(path, \"text\")`",
            )),
            _ => match kind(name) {
                Some(kind) => Ok(Call::IsKind(self.operand()?, kind)),
                None => Err(SyntaxError::new(at, format!("the function `{name}` is not supported; {SUPPORTED}"))),
            },
        }
    }

    fn pattern(&mut self) -> Result<Regex, SyntaxError> {
        let Token::Str(pattern) = self.peek() else { return Err(self.unexpected("the pattern as a string")) };
        let regex =
            go_regex::compile(pattern).map_err(|message| self.error(format!("not a regular expression: {message}")))?;
        self.next += 1;
        Ok(regex)
    }

    fn parent_span_id(&mut self, at: usize) -> Result<Operand, SyntaxError> {
        let path = Path::complete("span", ".parent_span_id", self.scope).ok().filter(|path| path.level == Level::Span);
        match path {
            Some(path) if path.text == "span.parent_span_id" => Ok(self.read(path, at)),
            _ => Err(SyntaxError::new(at, "`IsRootSpan` is for spans")),
        }
    }

    /// A trace or span id, whose bytes are the one argument.
    fn id(&mut self, len: usize) -> Result<Operand, SyntaxError> {
        match self.peek().clone() {
            Token::Bytes(bytes) if bytes.len() == len => {
                self.next += 1;
                let none = bytes.iter().all(|byte| *byte == 0);
                Ok(Operand::Literal(Literal::Bytes(if none { Vec::new() } else { bytes })))
            }
            _ => Err(self.unexpected(&format!("`0x` and {} hexadecimal digits", 2 * len))),
        }
    }

    fn enter(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error(format!("more than {DEPTH_MAX} levels deep"))) } else { Ok(()) }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.next].token
    }

    fn at(&self) -> usize {
        self.tokens[self.next].start
    }

    fn take_name(&mut self, name: &str) -> bool {
        let taken = matches!(self.peek(), Token::Name(next) if next == name);
        self.next += usize::from(taken);
        taken
    }

    fn take_punct(&mut self, punct: char) -> bool {
        let taken = *self.peek() == Token::Punct(punct);
        self.next += usize::from(taken);
        taken
    }

    fn expect(&mut self, punct: char) -> Result<(), SyntaxError> {
        if self.take_punct(punct) { Ok(()) } else { Err(self.unexpected(&format!("`{punct}`"))) }
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        let next = &self.tokens[self.next];
        let found = match next.token {
            Token::End => "the end",
            _ => &format!("`{}`", &self.text[next.start..next.end]),
        };
        self.error(format!("expected {expected}, found {found}"))
    }

    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.at(), message)
    }
}

fn kind(function: &str) -> Option<Kind> {
    Some(match function {
        "IsString" => Kind::Str,
        "IsBool" => Kind::Bool,
        "IsInt" => Kind::Int,
        "IsDouble" => Kind::Double,
        "IsList" => Kind::List,
        "IsMap" => Kind::Map,
        _ => return None,
    })
}
