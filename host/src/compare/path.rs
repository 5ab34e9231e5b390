//! Paths of fields.

use serde_json::Value;

/// A path without its positions: what changes are counted by. `span.events[2].attributes["k"]` is `span.events.attributes["k"]`.
pub fn field_of(path: &str) -> String {
    let mut field = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(open) = rest.find('[') {
        let (head, brackets) = rest.split_at(open);
        field.push_str(head);
        let close = end_of(brackets);
        let (bracket, after) = brackets.split_at(close);
        if bracket.starts_with("[\"") {
            field.push_str(bracket);
        }
        rest = after;
    }
    field.push_str(rest);
    field
}

/// Where what `brackets` begins with ends. A key may hold brackets; its quotes are escaped.
fn end_of(brackets: &str) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in brackets.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ']' if !is_quoted => return at + 1,
            _ => {}
        }
    }
    brackets.len()
}

/// A member of a message.
pub(super) fn of_member(context: &str, name: &str) -> String {
    let mut path = String::with_capacity(context.len() + name.len() + 4);
    path.push_str(context);
    path.push('.');
    push_snake(name, &mut path);
    path
}

/// An attribute of a list; `times` is how often its key came before.
pub(super) fn of_key(list: &str, key: &str, times: usize) -> String {
    let key = Value::from(key);
    if times == 0 { format!("{list}[{key}]") } else { format!("{list}[{key}][{times}]") }
}

/// OTLP's names as protobuf and OTTL write them.
pub(super) fn push_snake(name: &str, path: &mut String) {
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            path.push('_');
        }
        path.push(c.to_ascii_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_left_out_and_keys_are_not() {
        let same =
            ["span.name", r#"resource.attributes["a"]"#, r#"log.attributes["a[0]\"]b"]"#, r#"log.attributes["\\"]"#];
        for path in same {
            assert_eq!(field_of(path), path);
        }
        assert_eq!(field_of("span.events[12].name"), "span.events.name");
        assert_eq!(field_of(r#"span.events[0].attributes["k"][2]"#), r#"span.events.attributes["k"]"#);
        assert_eq!(field_of(&of_key("log.attributes", "x\"][3]", 4)), of_key("log.attributes", "x\"][3]", 0));
        assert_eq!(field_of("span.links[1]"), "span.links");
        assert_eq!(field_of("broken[\"off"), "broken[\"off");
    }
}
