//! SQL of any dialect: literals become `?`, comments go, everything else stays as it is.
//!
//! Dialects disagree on where some strings end. Where that could turn the inside of a string into its outside, the statement is not read.

/// Words that statements begin with.
const STATEMENTS: &str = " SELECT INSERT UPDATE DELETE REPLACE MERGE UPSERT WITH CREATE ALTER DROP TRUNCATE RENAME BEGIN START COMMIT \
    ROLLBACK SAVEPOINT RELEASE SET SHOW DESCRIBE DESC EXPLAIN ANALYZE USE GRANT REVOKE CALL EXEC EXECUTE DECLARE FETCH CLOSE OPEN \
    PREPARE DEALLOCATE LOCK UNLOCK VACUUM PRAGMA VALUES TABLE REFRESH COMMENT END OPTIMIZE CHECK REINDEX CLUSTER ATTACH DETACH ";
/// Words that a statement has which also begins like a command of a key-value store.
const CLAUSES: [&str; 8] = ["FROM", "INTO", "VALUES", "WHERE", "TABLE", "TRANSACTION", "=", "SESSION"];
/// Words after which a name follows, also in double quotes.
const BEFORE_NAMES: &str = " FROM JOIN INTO UPDATE TABLE AS ";

/// Whether it begins like a statement.
pub fn is_statement(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| c == '(' || c.is_whitespace());
    is_listed(STATEMENTS, word_at(text)) || text.starts_with("--") || text.starts_with("/*")
}

/// Whether it can be nothing else.
pub fn is_clear(text: &str) -> bool {
    text.split_ascii_whitespace().skip(1).any(|word| CLAUSES.iter().any(|clause| word.eq_ignore_ascii_case(clause)))
}

/// None if it cannot be told where its strings end.
pub fn sanitize(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '\'' => literal(&mut out, string_len(rest, '\'')?),
            '"' => {
                let len = string_len(rest, '"')?;
                let is_name =
                    out.ends_with('.') || rest[len..].starts_with('.') || is_listed(BEFORE_NAMES, last_word(&out));
                if is_name { kept(&mut out, &rest[..len]) } else { literal(&mut out, len) }
            }
            '`' => kept(&mut out, &rest[..string_len(rest, '`')?]),
            '[' if has_quote_in_brackets(rest) => return None,
            '$' if dollar_tag(rest).is_some() => literal(&mut out, dollar_len(rest)?),
            '0'..='9' => {
                let len = number_len(rest, &out);
                literal(&mut out, len)
            }
            '#' => comment_len(rest)?,
            '-' if rest.starts_with("--") => comment_len(rest)?,
            '/' if rest.starts_with("/*") => block_comment_len(rest)?,
            _ => kept(&mut out, &rest[..first.len_utf8()]),
        };
        rest = &rest[len..];
    }
    out.truncate(out.trim_end().len());
    Some(out)
}

fn kept(out: &mut String, text: &str) -> usize {
    out.push_str(text);
    text.len()
}

/// Values of a list become one.
fn literal(out: &mut String, len: usize) -> usize {
    // A prefix belongs to its string: N'...', E'...', x'...'.
    if out.ends_with(['N', 'E', 'X', 'B', 'n', 'e', 'x', 'b']) && last_word(out).len() == 1 {
        out.pop();
    }
    let list = out.trim_end().strip_suffix(',').map(str::trim_end).filter(|list| list.ends_with('?'));
    match list.map(str::len) {
        Some(len) => out.truncate(len),
        None => out.push('?'),
    }
    len
}

/// The length of what stands in quotes; a quote is written twice within. With a backslash before a quote, dialects disagree.
fn string_len(text: &str, quote: char) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        at += memchr::memchr(quote as u8, &bytes[at..])?;
        if bytes[at - 1] == b'\\' {
            return None;
        }
        if bytes.get(at + 1) != Some(&(quote as u8)) {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Whether a name in brackets has a quote in it, which other dialects take for a string's. An array of strings is no name.
fn has_quote_in_brackets(text: &str) -> bool {
    let within = text[1..].split(']').next().unwrap_or_default();
    within.starts_with(|c: char| c.is_alphabetic() || c == '_') && within.contains(['\'', '"', '`'])
}

/// The delimiter of a dollar-quoted string: `$$` or `$tag$`.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[1..end - 1];
    let is_tag = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !tag.starts_with(|c: char| c.is_ascii_digit());
    is_tag.then_some(&text[..end])
}

fn dollar_len(text: &str) -> Option<usize> {
    let tag = dollar_tag(text)?;
    let end = text[tag.len()..].find(tag)?;
    Some(end + 2 * tag.len())
}

/// A number, or the digits within a name, which can be an id as well.
fn number_len(text: &str, before: &str) -> usize {
    let is_name = before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '?'));
    let is_digit = |c: char| c.is_ascii_digit() || !is_name && (c.is_ascii_alphanumeric() || matches!(c, '.' | '_'));
    let len = text.find(|c| !is_digit(c)).unwrap_or(text.len());
    let has_exponent = !is_name && text[..len].ends_with(['e', 'E']) && text[len..].starts_with(['+', '-']);
    let exponent = if has_exponent { 1 + text[len + 1..].bytes().take_while(u8::is_ascii_digit).count() } else { 0 };
    len + exponent
}

/// A comment to the end of the line. What begins a comment in one dialect does not in others, so there must be no quotes in it.
fn comment_len(text: &str) -> Option<usize> {
    let line = text.lines().next().unwrap_or_default();
    (!line.contains(['\'', '"', '`', '$'])).then_some(line.len())
}

fn block_comment_len(text: &str) -> Option<usize> {
    let len = text.find("*/")? + 2;
    // Some dialects nest comments.
    (!text[2..len].contains("/*")).then_some(len)
}

fn is_listed(list: &str, word: &str) -> bool {
    !word.is_empty() && list.contains(&format!(" {} ", word.to_ascii_uppercase()))
}

fn word_at(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len())]
}

/// The word that the text ends with, spaces aside.
fn last_word(text: &str) -> &str {
    let text = text.trim_end();
    &text[text.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1)..]
}

#[cfg(test)]
mod tests {
    use super::sanitize;

    #[test]
    fn literals_go() {
        let cases = [
            ("SELECT * FROM users WHERE id = 123", Some("SELECT * FROM users WHERE id = ?")),
            ("INSERT INTO t (a, b) VALUES ('John', 30)", Some("INSERT INTO t (a, b) VALUES (?)")),
            ("SELECT 1 WHERE x IN (1, 2,3 ,'4')", Some("SELECT ? WHERE x IN (?)")),
            ("SELECT 'it''s', N'x', E'y'", Some("SELECT ?")),
            ("SELECT a FROM t -- ann\nWHERE b = 0x1F", Some("SELECT a FROM t \nWHERE b = ?")),
            ("SELECT /* ann 'x' */ a FROM t_2024 LIMIT 5", Some("SELECT  a FROM t_? LIMIT ?")),
            ("SELECT $tag$it's$tag$ , $$x$$, $1", Some("SELECT ?, $?")),
            ("UPDATE a SET b = -1.5e-10, c = .5", Some("UPDATE a SET b = -?, c = .?")),
            (r#"SELECT "t"."c" FROM "t" WHERE x = "secret""#, Some(r#"SELECT "t"."c" FROM "t" WHERE x = ?"#)),
            ("SELECT `a b` FROM [c d]", Some("SELECT `a b` FROM [c d]")),
            (r"SELECT 'it\'s', 'secret'", None),
            ("SELECT 'cut o", None),
            ("SELECT /* cut", None),
            ("SELECT ARRAY['a', 'b'][1]", Some("SELECT ARRAY[?][?]")),
            ("SELECT [it's], 'secret', [b's]", None),
            ("SELECT a # b 'x'\n y', 'secret'", None),
        ];
        for (text, expected) in cases {
            assert_eq!(sanitize(text).as_deref(), expected, "{text}");
        }
    }
}
