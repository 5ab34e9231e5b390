//! The API describes itself: the committed document is what is served, and every route answers what it says.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluicebox_tests::engine::{Engine, workspace};

use crate::schema;
use crate::support::{Answer, STAGE, ask, bearer, engine};

const REFUSAL: &str = "#/components/schemas/Refusal";

/// A call of a route: its verb and path in the document, what is asked, and the status of the answer.
struct Call {
    route: (&'static str, &'static str),
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Value,
    status: u16,
}

/// One call, at least, of every route that needs more than its path; what only reads, and has no part to choose, is called anyway.
/// They come in this order, so that there is an operation to ask for.
fn calls() -> Vec<Call> {
    let json = |route, path, body, status| Call { route, path, headers: &[], body, status };
    let read = |route, path, status| json(route, path, Value::Null, status);
    let swap = json!({ "stage": STAGE });
    vec![
        json(("post", "/v1/swap"), "/v1/swap?wait=true", swap.clone(), 200),
        json(("post", "/v1/swap"), "/v1/swap", json!({ "stage": "filter/other" }), 202),
        json(("post", "/v1/swap"), "/v1/swap?wait=true", json!({ "stage": "nobody" }), 404),
        json(("post", "/v1/swap"), "/v1/swap?wait=true", json!({ "stage": STAGE, "config": { "x": 1 } }), 422),
        json(("post", "/v1/swap"), "/v1/swap", json!({ "stag": STAGE }), 422),
        json(("post", "/v1/rollback"), "/v1/rollback", swap, 200),
        json(("post", "/v1/rollback"), "/v1/rollback", json!({ "stage": "nobody" }), 404),
        json(("post", "/v1/reload"), "/v1/reload?wait=true", json!({}), 200),
        json(("post", "/v1/reload"), "/v1/reload", json!({ "force": true }), 202),
        json(("put", "/v1/log-level"), "/v1/log-level", json!({ "level": "debug" }), 200),
        json(("put", "/v1/log-level"), "/v1/log-level", json!({ "level": "loud" }), 422),
        Call {
            headers: &[("content-type", "application/wasm")],
            ..json(("post", "/v1/components"), "/v1/components", json!("no component, but bytes"), 200)
        },
        read(("get", "/v1/operations/{id}"), "/v1/operations/1", 200),
        read(("get", "/v1/operations/{id}"), "/v1/operations/999", 404),
        read(("get", "/v1/operations/{id}/events"), "/v1/operations/1/events", 200),
        read(("get", "/v1/operations/{id}/events"), "/v1/operations/999/events", 404),
        read(("delete", "/v1/operations/{id}"), "/v1/operations/1", 200),
        read(("delete", "/v1/operations/{id}"), "/v1/operations/999", 404),
        read(("get", "/v1/generations"), "/v1/generations?stage=nobody", 404),
        read(("get", "/v1/traces/{id}"), "/v1/traces/4bf92f3577b34da6a3ce929d0e0e4736", 200),
        read(("get", "/v1/traces/{id}"), "/v1/traces/4bf9", 400),
        read(("get", "/readyz"), "/readyz?format=json", 200),
        read(("get", "/v1/stages/{id}"), "/v1/stages/filter%2Fhealth", 200),
        read(("get", "/v1/stages/{id}"), "/v1/stages/nobody", 404),
        json(("post", "/v1/pause"), "/v1/pause", json!({ "stage": STAGE, "seconds": 60 }), 200),
        json(("post", "/v1/pause"), "/v1/pause", json!({ "stage": "nobody" }), 404),
        json(("post", "/v1/resume"), "/v1/resume", json!({ "stage": STAGE }), 200),
        json(("post", "/v1/shadow"), "/v1/shadow?wait=true", json!({ "stage": STAGE, "for": "1s" }), 200),
        json(("post", "/v1/shadow"), "/v1/shadow", json!({ "stage": "nobody" }), 404),
        json(("post", "/v1/taps"), "/v1/taps", json!({ "stage": STAGE }), 403),
        json(("post", "/v1/try"), "/v1/try", json!({ "stage": STAGE, "input": { "resourceSpans": [] } }), 200),
        json(("post", "/v1/try"), "/v1/try", json!({ "stage": "nobody", "input": { "resourceSpans": [] } }), 404),
        read(("post", "/v1/drain"), "/v1/drain", 202),
    ]
}

/// The file is what others build on: a change of the API is a change of it. `BLESS=1` takes the new one.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_the_committed_one() {
    let engine = engine().await;
    let served = ask(&engine, "GET", "/v1/openapi.json", &[], "").await.json();
    let file = workspace().join("host/openapi.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, format!("{served:#}\n")).unwrap();
    }
    let committed: Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap_or_default()).unwrap_or_default();
    assert!(served == committed, "{} is not what is served (BLESS=1 takes that)", file.display());
    let listed = ask(&engine, "GET", "/v1", &[], "").await.json();
    let listed: BTreeSet<_> = listed["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| {
            assert!(!route["does"].as_str().unwrap().is_empty(), "{route}");
            (route["verb"].as_str().unwrap().to_lowercase(), route["path"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(listed, routes(&served).into_iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_what_it_says() {
    let engine = engine().await;
    let document = ask(&engine, "GET", "/v1/openapi.json", &[], "").await.json();
    let mut called = BTreeSet::new();
    for (verb, path) in routes(&document) {
        if verb == "get" && !path.contains('{') {
            let answer = ask(&engine, "GET", &path, &[], "").await;
            assert_eq!(answer.status, 200, "{path}");
            check(&document, "get", &path, &answer);
            called.insert((verb, path));
        }
    }
    for call in calls() {
        let (verb, path) = call.route;
        let answer = made(&engine, &call).await;
        assert_eq!(answer.status, call.status, "{verb} {}: {answer:?}", call.path);
        check(&document, verb, path, &answer);
        called.insert((verb.to_owned(), path.to_owned()));
    }
    let all: BTreeSet<_> = routes(&document).into_iter().collect();
    let uncalled: Vec<_> = all.difference(&called).collect();
    assert!(uncalled.is_empty(), "each route needs a call above: {uncalled:?}");
}

/// No route is forgotten: whatever changes something says that it needs the token, and does.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_needs_the_token() {
    let engine = engine().await;
    let document = ask(&engine, "GET", "/v1/openapi.json", &[], "").await.json();
    let mut changes = 0;
    for (verb, path) in routes(&document).into_iter().filter(|(verb, _)| verb != "get") {
        changes += 1;
        let security = &document["paths"][&path][&verb]["security"];
        assert_eq!(*security, json!([{ "token": [] }]), "{verb} {path}");
        let asked = path.replace("{id}", "1").replace("{stage}", "filter%2Fhealth");
        let answer = ask(&engine, &verb.to_uppercase(), &asked, &[], "{}").await;
        assert_eq!(answer.refused(), (401, "E0520".to_owned()), "{verb} {path}");
        check(&document, &verb, &path, &answer);
    }
    assert!(changes >= 6, "{changes}");
}

async fn made(engine: &Engine, call: &Call) -> Answer {
    let (verb, _) = call.route;
    let mut headers: Vec<_> = call.headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    headers.push(bearer(engine));
    if !call.body.is_null() && call.headers.is_empty() {
        headers.push(("content-type", "application/json".to_owned()));
    }
    let body = if call.body.is_null() { String::new() } else { call.body.to_string() };
    ask(engine, &verb.to_uppercase(), call.path, &headers, &body).await
}

/// Status, content type and body are in the document.
fn check(document: &Value, verb: &str, path: &str, answer: &Answer) {
    let what = format!("{verb} {path} {}", answer.status);
    let said = &document["paths"][path][verb]["responses"][answer.status.to_string()];
    let content = said["content"].as_object().unwrap_or_else(|| panic!("{what} is not in the document"));
    let kind = answer.header("content-type").split(';').next().unwrap().to_owned();
    let schema = &content.get(&kind).unwrap_or_else(|| panic!("{what}: {kind} is not in the document"))["schema"];
    if answer.status >= 400 && path.starts_with("/v1") {
        assert_eq!(schema["$ref"], REFUSAL, "{what}");
    }
    let bodies: Vec<Value> = match kind.as_str() {
        "application/json" => vec![answer.json()],
        "text/event-stream" => {
            let data = answer.text.lines().filter_map(|line| line.strip_prefix("data:"));
            data.map(|data| serde_json::from_str(data).unwrap()).collect()
        }
        _ => vec![Value::from(answer.text.clone())],
    };
    assert!(!bodies.is_empty(), "{what}");
    for body in bodies {
        schema::check(document, schema, &body).unwrap_or_else(|error| panic!("{what}: {error} in {body}"));
    }
}

/// Verbs and paths of the document.
fn routes(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let verbs = item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| ["get", "post", "put", "delete", "patch"].contains(&key.as_str()));
        verbs.map(|verb| (verb.clone(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}
