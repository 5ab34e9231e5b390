//! Text to tokens.

use super::{Comparison, SyntaxError};

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name: path segment, keyword, enum or function.
    Name(String),
    Str(String),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Comparison(Comparison),
    /// `( ) [ ] , .`
    Punct(char),
    End,
}

/// A token and the bytes of the text that it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned {
    pub token: Token,
    pub start: usize,
    pub end: usize,
}

/// All tokens of a condition; the last one is [`Token::End`].
pub fn tokens(text: &str) -> Result<Vec<Spanned>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let (token, len) = next(text, at)?;
        let last = token == Token::End;
        tokens.push(Spanned { token, start: at, end: at + len });
        if last {
            return Ok(tokens);
        }
        at += len;
    }
}

/// The token that begins at `at`, and its length in bytes.
fn next(text: &str, at: usize) -> Result<(Token, usize), SyntaxError> {
    let rest = &text[at..];
    let Some(first) = rest.chars().next() else { return Ok((Token::End, 0)) };
    for (symbol, comparison) in COMPARISONS {
        if rest.starts_with(symbol) {
            return Ok((Token::Comparison(comparison), symbol.len()));
        }
    }
    let after_sign = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let starts_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    match first {
        '"' => string(text, at),
        '(' | ')' | '[' | ']' | ',' => Ok((Token::Punct(first), 1)),
        _ if rest.starts_with("0x") => bytes(rest, at),
        _ if starts_number(after_sign) || after_sign.strip_prefix('.').is_some_and(starts_number) => number(rest, at),
        '.' => Ok((Token::Punct('.'), 1)),
        'a'..='z' | 'A'..='Z' | '_' => {
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            Ok((Token::Name(rest[..len].to_owned()), len))
        }
        '=' => Err(SyntaxError::new(at, "`=` is not an operator; equality is `==`")),
        '+' | '-' | '*' | '/' => Err(SyntaxError::new(at, "arithmetic is not supported")),
        '\'' => Err(SyntaxError::new(at, "strings are written in double quotes")),
        '&' | '|' | '!' => {
            Err(SyntaxError::new(at, format!("unexpected `{first}`; the operators are `and`, `or` and `not`")))
        }
        '{' => Err(SyntaxError::new(at, "maps are not supported")),
        _ => Err(SyntaxError::new(at, format!("unexpected `{first}`"))),
    }
}

const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// `[-+]?\d+` or `[-+]?\d*\.\d+([eE][-+]?\d+)?`
fn number(rest: &str, at: usize) -> Result<(Token, usize), SyntaxError> {
    let digits = |from: usize| rest[from..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |len| from + len);
    let mut end = digits(usize::from(rest.starts_with(['+', '-'])));
    let fraction = rest[end..].strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if !fraction {
        let int = rest[..end].parse().map_err(|_| SyntaxError::new(at, "the number does not fit in 64 bits"))?;
        return Ok((Token::Int(int), end));
    }
    end = digits(end + 1);
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        let exponent_end = digits(end + 1 + sign);
        if exponent_end > end + 1 + sign {
            end = exponent_end;
        }
    }
    let double = rest[..end].parse().map_err(|_| SyntaxError::new(at, "not a number"))?;
    Ok((Token::Double(double), end))
}

fn bytes(rest: &str, at: usize) -> Result<(Token, usize), SyntaxError> {
    let hex = &rest[2..];
    let hex = &hex[..hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len())];
    let bytes = (0..hex.len())
        .step_by(2)
        .map(|pair| hex.get(pair..pair + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()));
    match bytes.collect::<Option<Vec<u8>>>() {
        Some(bytes) if !bytes.is_empty() => Ok((Token::Bytes(bytes), 2 + hex.len())),
        _ => Err(SyntaxError::new(at, "bytes are written as `0x` and an even number of hexadecimal digits")),
    }
}

/// A string with the escapes of Go's string literals.
fn string(text: &str, at: usize) -> Result<(Token, usize), SyntaxError> {
    let mut value = String::new();
    let mut chars = text[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        let place = at + 1 + offset;
        match c {
            '"' => return Ok((Token::Str(value), offset + 2)),
            '\\' => {
                let (escaped, len) = escape(&text[place + 1..], place)?;
                value.push(escaped);
                // The backslash is gone already; so are all but the escape's own characters, which are ASCII.
                for _ in 0..len {
                    chars.next();
                }
            }
            c => value.push(c),
        }
    }
    Err(SyntaxError::new(at, "the string does not end"))
}

/// What follows a backslash: the character it stands for, and its length.
fn escape(rest: &str, at: usize) -> Result<(char, usize), SyntaxError> {
    let simple = |c| Ok((c, 1));
    match rest.chars().next() {
        Some('a') => simple('\u{7}'),
        Some('b') => simple('\u{8}'),
        Some('f') => simple('\u{c}'),
        Some('n') => simple('\n'),
        Some('r') => simple('\r'),
        Some('t') => simple('\t'),
        Some('v') => simple('\u{b}'),
        Some(c @ ('\\' | '"')) => simple(c),
        Some('x') => code(rest, 2, at),
        Some('u') => code(rest, 4, at),
        Some('U') => code(rest, 8, at),
        Some(c) => Err(SyntaxError::new(at, format!("`\\{c}` is not an escape; for a backslash write `\\\\`"))),
        None => Err(SyntaxError::new(at, "the string does not end")),
    }
}

/// A character by its code in `digits` hexadecimal digits, after one letter.
fn code(rest: &str, digits: usize, at: usize) -> Result<(char, usize), SyntaxError> {
    let code = rest.get(1..1 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    match code.and_then(char::from_u32) {
        Some(c) if digits > 2 || c.is_ascii() => Ok((c, 1 + digits)),
        _ => Err(SyntaxError::new(at, "not the code of a character")),
    }
}
