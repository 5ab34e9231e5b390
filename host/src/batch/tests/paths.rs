//! Paths and their errors.

use super::*;

fn open(paths: &[&str]) -> Result<Field, PathError> {
    Field::open(&paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>())
}

#[test]
fn the_level_is_the_lowest_and_the_signal_the_only_one() {
    let cases: [(&[&str], Level, Option<Signal>); 8] = [
        (&["resource.attributes[\"service.name\"]"], Level::Resource, None),
        (&["instrumentation_scope.name", "resource.attributes[\"a\"]"], Level::Scope, None),
        (&["span.status.code"], Level::Item, Some(Signal::Traces)),
        (&["spanevent.attributes[\"a\"][\"b\"][0]", "span.name", "scope.version"], Level::Event, Some(Signal::Traces)),
        (&["span.name", "spanlink.trace_id.string"], Level::Link, Some(Signal::Traces)),
        (&["log.body[\"message\"]", "log.body"], Level::Item, Some(Signal::Logs)),
        (&["metric.type"], Level::Item, Some(Signal::Metrics)),
        (&["metric.name", "datapoint.value_double"], Level::Point, Some(Signal::Metrics)),
    ];
    for (paths, level, signal) in cases {
        let field = open(paths).expect("known");
        assert_eq!((field.level(), field.signal(), field.arity()), (level, signal, paths.len()), "{paths:?}");
    }
}

#[test]
fn keys_are_quoted_with_escapes() {
    assert_eq!(open(&[r#"span.attributes["a\"\\]"]"#]), open(&[r#"span.attributes["a\"\\]"]"#]));
    assert_ne!(open(&[r#"span.attributes["a"]"#]), open(&[r#"span.attributes["a\\"]"#]));
}

#[test]
fn errors_name_the_path_and_what_exists() {
    let cases: [(&[&str], &str); 16] = [
        (&[], "a field needs at least one path"),
        (&["span.nam"], "\"span.nam\": no such field; did you mean span.name?"),
        (&["spam.name"], "\"spam.name\": no such field; did you mean span.name?"),
        (&["span.statuscode"], "\"span.statuscode\": no such field; did you mean span.status.code?"),
        (
            &["scope.colour"],
            "\"scope.colour\": no such field; scope's fields are name, version, attributes, dropped_attributes_count",
        ),
        (
            &["x"],
            "\"x\": no such field; a path begins with one of resource, scope, instrumentation_scope, span, spanevent, \
             spanlink, log, metric, datapoint",
        ),
        (&["span.attributes"], "\"span.attributes\": name one attribute, as in span.attributes[\"key\"]"),
        (&["span.attributes[0]"], "\"span.attributes[0]\": name one attribute, as in span.attributes[\"key\"]"),
        (&["span.name[0]"], "\"span.name[0]\": span.name is neither a map nor a list"),
        (&["span.attributes[\"a]"], "\"span.attributes[\\\"a]\": the key's closing \" is missing"),
        (&["span.attributes[\"a\"x"], "\"span.attributes[\\\"a\\\"x\": expected ] after the key"),
        (&["span.attributes[\"a\"].b"], "\"span.attributes[\\\"a\\\"].b\": expected [ after ]"),
        (&["span.attributes[a]"], "\"span.attributes[a]\": expected a key in quotes or an index after ["),
        (&["log.body[\"\\n\"]"], "\"log.body[\\\"\\\\n\\\"]\": in a key, \\ must be followed by \" or \\"),
        (
            &["spanevent.name", "spanlink.trace_id"],
            "\"spanevent.name\" and \"spanlink.trace_id\" cannot be read together: neither is of a level above the other",
        ),
        (
            &["scope.name", "span.name", "datapoint.flags"],
            "\"span.name\" and \"datapoint.flags\" cannot be read together: neither is of a level above the other",
        ),
    ];
    for (paths, error) in cases {
        assert_eq!(open(paths).expect_err("unknown").to_string(), error);
    }
}

#[test]
fn levels_have_names() {
    let names = ["resource", "scope", "span", "log", "metric", "spanevent", "spanlink", "datapoint"];
    let levels = names.map(|name| Level::parse(name).expect("known"));
    let item = Level::Item;
    assert_eq!(levels, [Level::Resource, Level::Scope, item, item, item, Level::Event, Level::Link, Level::Point]);
    assert_eq!(Level::parse("spans"), None);
}
