//! Whether a document is what an OpenAPI schema says: stricter than JSON Schema, since a key that no schema names is wrong, too.

use serde_json::{Map, Value};

/// Keywords that say something about values; others are errors, so that none goes unchecked.
const KNOWN: [&str; 16] = [
    "$ref",
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "oneOf",
    "anyOf",
    "allOf",
    "additionalProperties",
    "propertyNames",
    "description",
    "format",
    "minimum",
    "default",
    "example",
];

/// What is wrong with `value`, if anything.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    check_at(document, schema, value, "", true)
}

fn check_at(document: &Value, schema: &Value, value: &Value, at: &str, whole: bool) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Ok(()) };
    if let Some(unknown) = schema.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("{at}: keyword \"{unknown}\" is not known to this test"));
    }
    if let Some(target) = schema.get("$ref") {
        return check_at(document, resolved(document, target), value, at, whole);
    }
    for (several, exactly_one) in [("oneOf", true), ("anyOf", false)] {
        let Some(all) = schema.get(several).and_then(Value::as_array) else { continue };
        let results: Vec<_> = all.iter().map(|one| check_at(document, one, value, at, whole)).collect();
        let fits = results.iter().filter(|result| result.is_ok()).count();
        if fits == 0 || exactly_one && fits > 1 {
            return Err(format!("{at}: fits {fits} of {several}: {results:?}"));
        }
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        check_at(document, part, value, at, false)?;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        return Err(format!("{at}: {value} is none of {allowed:?}"));
    }
    check_type(schema, value, at)?;
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (place, value) in values.iter().enumerate() {
            check_at(document, items, value, &format!("{at}[{place}]"), true)?;
        }
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    check_object(document, schema, object, at, whole)
}

fn check_object(
    document: &Value,
    schema: &Map<String, Value>,
    object: &Map<String, Value>,
    at: &str,
    whole: bool,
) -> Result<(), String> {
    for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !object.contains_key(required.as_str().unwrap_or_default()) {
            return Err(format!("{at}: {required} is missing"));
        }
    }
    let known = properties(document, schema);
    let others = schema.get("additionalProperties");
    let is_free = known.is_empty() && others.is_none();
    for (key, value) in object {
        let at = format!("{at}.{key}");
        match (known.iter().find(|(name, _)| name == key), others) {
            (Some((_, schema)), _) => check_at(document, schema, value, &at, true)?,
            (None, Some(schema)) => check_at(document, schema, value, &at, true)?,
            (None, None) if whole && !is_free => return Err(format!("{at} is in no schema")),
            (None, None) => {}
        }
    }
    Ok(())
}

/// Of a schema and of those that it is made of.
fn properties(document: &Value, schema: &Map<String, Value>) -> Vec<(String, Value)> {
    let own = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let mut all: Vec<_> = own.map(|(name, schema)| (name.clone(), schema.clone())).collect();
    let referred = schema.get("$ref").map(|target| resolved(document, target));
    let parts = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
    for part in parts.chain(referred).filter_map(Value::as_object) {
        all.extend(properties(document, part));
    }
    all
}

fn check_type(schema: &Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
    let allowed: Vec<_> = match schema.get("type") {
        None => return Ok(()),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        Some(one) => one.as_str().into_iter().collect(),
    };
    let is = |name: &str| match name {
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    };
    if allowed.iter().any(|name| is(name)) { Ok(()) } else { Err(format!("{at}: {value} is none of {allowed:?}")) }
}

fn resolved<'a>(document: &'a Value, target: &Value) -> &'a Value {
    let target = target.as_str().unwrap_or_default();
    let found = target.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
    found.unwrap_or_else(|| panic!("{target} leads nowhere"))
}

#[test]
fn what_a_schema_does_not_say_is_wrong() {
    use serde_json::json;
    let document = json!({ "components": { "schemas": {
        "Named": { "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } },
        "Aged": { "allOf": [
            { "$ref": "#/components/schemas/Named" },
            { "type": "object", "properties": { "age": { "type": ["integer", "null"] } } },
        ] },
    } } });
    let aged = json!({ "$ref": "#/components/schemas/Aged" });
    for good in [json!({ "name": "a" }), json!({ "name": "a", "age": 1 }), json!({ "name": "a", "age": null })] {
        assert_eq!(check(&document, &aged, &good), Ok(()), "{good}");
    }
    for bad in
        [json!({}), json!({ "name": 1 }), json!({ "name": "a", "age": "1" }), json!({ "name": "a", "x": 1 }), json!([])]
    {
        assert!(check(&document, &aged, &bad).is_err(), "{bad}");
    }
    assert!(check(&document, &json!({ "type": "string", "pattern": "a" }), &json!("b")).is_err(), "unknown keywords");
}
