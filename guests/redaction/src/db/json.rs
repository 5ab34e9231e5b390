//! JSON documents, one or several: keys stay, every value becomes `"?"`.

use serde_json::{Deserializer, Value};

pub fn sanitize(text: &str) -> Option<String> {
    let mut documents = Deserializer::from_str(text).into_iter::<Value>();
    if !documents.all(|document| document.is_ok()) {
        return None;
    }
    // From here on the text is known to be well formed.
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '"' => string_len(rest),
            '-' | '0'..='9' | 'a'..='z' => rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len()),
            _ => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        let (token, after) = rest.split_at_checked(len)?;
        let is_key = first == '"' && after.trim_start().starts_with(':');
        out.push_str(if is_key { token } else { "\"?\"" });
        rest = after;
    }
    Some(out)
}

/// The length of the string that the text begins with, with its quotes.
fn string_len(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::sanitize;

    #[test]
    fn values_go_and_keys_stay() {
        let cases = [
            (r#"{"query":{"match":{"title":"test"}}}"#, Some(r#"{"query":{"match":{"title":"?"}}}"#)),
            (
                r#"{"a" : [1, -2.5e3, "x\"y", null, true], "b": {}}"#,
                Some(r#"{"a" : ["?", "?", "?", "?", "?"], "b": {}}"#),
            ),
            (
                "{\"index\":{\"_id\":\"7\"}}\n{\"name\":\"ann\"}\n",
                Some("{\"index\":{\"_id\":\"?\"}}\n{\"name\":\"?\"}\n"),
            ),
            (r#"{"a": "cut o"#, None),
            ("{a: 1}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(sanitize(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_not_read() {
        assert_eq!(sanitize(&"[".repeat(100_000)), None);
    }
}
