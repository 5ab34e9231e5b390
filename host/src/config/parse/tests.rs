use std::net::SocketAddr;
use std::path::PathBuf;

use super::*;
use crate::config::Environment;
use crate::config::files::Files;

/// One variable.
struct Variable(&'static str, &'static str);

impl Environment for Variable {
    fn variable(&self, name: &str) -> Option<String> {
        (name == self.0).then(|| self.1.to_owned())
    }

    fn resolve(&self, _host: &str, _port: u16) -> Option<SocketAddr> {
        None
    }
}

fn parsed_with(text: &str, environment: &Variable) -> (Option<Node>, Vec<Problem>) {
    let files = Files::new(Source::new("test.yaml".into(), text.into(), PathBuf::new()));
    let mut problems = Vec::new();
    let node = parse(&mut Loader::new(files, environment, "test.yaml".into()), &mut problems);
    (node, problems)
}

fn parsed(text: &str) -> (Option<Node>, Vec<Problem>) {
    parsed_with(text, &Variable("A", "value"))
}

fn json(text: &str) -> String {
    let (node, problems) = parsed(text);
    assert_eq!(problems, [], "{text}");
    serde_json::to_string(&node.unwrap()).unwrap()
}

/// Looks a value up by its keys.
fn at<'n>(node: &'n Node, path: &[&str]) -> &'n Node {
    path.iter().fold(node, |node, key| {
        let Value::Map(entries) = &node.value else { panic!("{key} in {node:?}") };
        &entries.iter().find(|entry| entry.key == *key).unwrap().value
    })
}

fn place(line: u32, column: u32, end_column: u32) -> Place {
    Place { file: 0, line, column, end_column }
}

#[test]
fn values_keep_their_types_and_order() {
    assert_eq!(
        json("b: 1\na: [true, ~, 'x', \"1\", 1.5, 2e3, 5s]\n"),
        r#"{"b":1,"a":[true,null,"x","1",1.5,2000.0,"5s"]}"#
    );
    assert_eq!(json("a: |\n  one\n  two\nb: >-\n  one\n  two\n"), r#"{"a":"one\ntwo\n","b":"one two"}"#);
    assert_eq!(json("{a: !!str 5, b: !!float 5, 1: x, true: y}"), r#"{"a":"5","b":5.0,"1":"x","true":"y"}"#);
}

#[test]
fn values_know_their_places() {
    let (node, _) = parsed("a:\n  b: text  # why\n  ü: 'quoted'\n  c: ü${A} ${A}\n  d: \"x $${A} ${A}\"\n");
    let node = node.unwrap();
    assert_eq!(at(&node, &["a", "b"]).place, place(2, 6, 10));
    assert_eq!(at(&node, &["a", "ü"]).place, place(3, 6, 14));
    assert_eq!(at(&node, &["a", "c"]).place, place(4, 7, 11));
    assert_eq!(at(&node, &["a", "c"]).whole_place(), place(4, 6, 16));
    assert_eq!(at(&node, &["a", "d"]).place, place(5, 15, 19));
}

#[test]
fn references_in_block_scalars_have_places() {
    let (_, problems) = parsed("a: |\n  line\n  ü ${B}\n");
    assert_eq!(problems[0].place, Some(place(3, 5, 9)));
}

#[test]
fn aliases_and_merge_keys_are_expanded() {
    assert_eq!(json("a: &x {k: 1, l: 2}\nb: *x\n"), r#"{"a":{"k":1,"l":2},"b":{"k":1,"l":2}}"#);
    assert_eq!(json("a: &x {k: 1}\nb: {<<: *x, k: 2, m: 3}\n"), r#"{"a":{"k":1},"b":{"k":2,"m":3}}"#);
    assert_eq!(
        json("a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: [*x, *y]}\n"),
        r#"{"a":{"k":1},"b":{"k":2,"l":2},"c":{"k":1,"l":2}}"#
    );
}

#[test]
fn a_variable_never_becomes_structure() {
    let node = parsed_with("a: ${X}\n", &Variable("X", "{b: [1]}\nc: 2")).0.unwrap();
    assert!(matches!(&at(&node, &["a"]).value, Value::Text(text) if text == "{b: [1]}\nc: 2"));
}

#[test]
fn a_duplicate_key_names_both_places() {
    let (node, problems) = parsed("a: 1\nb: {c: 1, c: 2}\na: 2\n");
    assert!(node.is_some());
    let told: Vec<_> =
        problems.iter().map(|problem| (problem.place.unwrap(), problem.detail.clone().unwrap())).collect();
    assert_eq!(told[0], (place(2, 11, 12), "first at line 2, column 5".to_owned()));
    assert_eq!(told[1], (place(3, 1, 2), "first at line 1, column 1".to_owned()));
}

#[test]
fn bounds_hold_at_their_edges() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parsed(&nested(DEPTH_MAX)).0.is_some());
    assert_eq!(parsed(&nested(DEPTH_MAX + 1)).1[0].code, Code::TooDeep);
    let aliased = |depth: usize| format!("a: &x {}\nb: [*x]\n", nested(depth));
    assert!(parsed(&aliased(DEPTH_MAX - 2)).0.is_some());
    assert_eq!(parsed(&aliased(DEPTH_MAX - 1)).1[0].code, Code::TooDeep);
    let items = |count: usize| format!("[{}]", "x,".repeat(count));
    assert!(parsed(&items(NODES_MAX - 1)).0.is_some());
    assert_eq!(parsed(&items(NODES_MAX)).1[0].code, Code::TooManyNodes);
}
