//! What takes long: followed, in the way of others, cancelled.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{
    BOUND, OTHER, STAGE, ask, bearer, by_socket, change, ended, engine, generation, hanging_swap, open, over, request,
    socket, status,
};

/// alloy#1835: what hangs in one stage blanks nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn ui_survives_hung_stage() {
    let engine = engine().await;
    // It hangs for 2 s; on a machine that is slower than that nothing is shown, and it is tried again.
    let mut shown = false;
    for _ in 0..5 {
        let id = hanging_swap(&engine, STAGE).await;
        let now = status(&engine).await;
        let stages = now["stages"].as_array().unwrap();
        assert_eq!(stages.len(), 2, "{now}");
        assert!(stages.iter().all(|stage| stage["serving"]["generation"] == 1), "{now}");
        let page = ask(&engine, "GET", "/readyz", &[], "").await;
        assert_eq!(page.status, 200, "{page:?}");
        let operation = ask(&engine, "GET", &format!("/v1/operations/{id}"), &[], "").await.json();
        shown |= operation["state"] == "running";
        let end = ended(&engine, id).await;
        assert_eq!((&end["state"], &end["result"]["step"]), (&json!("failed"), &json!("configure")), "{end}");
        if shown {
            break;
        }
    }
    assert!(shown, "status was never answered while the stage hung");
    assert_eq!(generation(&engine, STAGE).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_an_operation_that_is_followed_to_its_end() {
    let engine = engine().await;
    let begun = change(&engine, "POST", "/v1/swap", &json!({ "stage": STAGE })).await;
    assert_eq!((begun.status, begun.header("location")), (202, "/v1/operations/1"), "{begun:?}");
    let begun = begun.json();
    assert_eq!((&begun["kind"], &begun["stage"]), (&json!("swap"), &json!(STAGE)));
    let events = ask(&engine, "GET", "/v1/operations/1/events", &[bearer(&engine)], "").await;
    assert_eq!(events.header("content-type"), "text/event-stream");
    let events: Vec<Value> = events
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let last = events.last().unwrap();
    assert_eq!((&last["state"], &last["result"]["new"]["generation"]), (&json!("succeeded"), &json!(2)), "{last}");
    let steps: Vec<_> = last["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(steps, ["build", "probe", "commit", "drain"], "{last}");
    assert!(events[..events.len() - 1].iter().all(|event| event["state"] == "running"), "the end is told once");
    assert_eq!(generation(&engine, STAGE).await, 2);
    let listed = ask(&engine, "GET", "/v1/operations", &[bearer(&engine)], "").await.json();
    assert_eq!(listed["operations"][0], *last);
}

/// otap: who comes second is told what is in the way, and how to follow or end it; another stage is not in the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_names_the_operation_and_a_cancel_ends_it() {
    let engine = engine().await;
    let id = hanging_swap(&engine, STAGE).await;
    for path in ["/v1/swap", "/v1/swap?wait=true", "/v1/rollback"] {
        let second = change(&engine, "POST", path, &json!({ "stage": STAGE })).await;
        assert_eq!(second.refused(), (409, "E0526".to_owned()), "{path}: {second:?}");
        let said = second.json();
        assert_eq!(said["operation"], id);
        for part in [format!("operation {id} (swap of {STAGE}, by api"), "is under way".to_owned()] {
            assert!(said["error"].as_str().unwrap().contains(&part), "{said}");
        }
        assert!(said["help"].as_str().unwrap().contains("--cancel"), "{said}");
    }
    let cancelled = change(&engine, "DELETE", &format!("/v1/operations/{id}"), &Value::Null).await.json();
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    assert_eq!(generation(&engine, STAGE).await, 1, "what served before serves");
    let next = change(&engine, "POST", "/v1/swap?wait=true", &json!({ "stage": STAGE })).await;
    assert_eq!(next.status, 200, "nothing is left of it: {next:?}");
    assert_eq!(generation(&engine, STAGE).await, 2);
    let again = change(&engine, "DELETE", &format!("/v1/operations/{id}"), &Value::Null).await.json();
    assert_eq!(again["state"], "cancelled", "what has ended stays as it ended");
    let records = ask(&engine, "GET", &format!("/v1/generations?stage={STAGE}"), &[], "").await.json();
    let results: Vec<_> =
        records["stages"][0]["generations"].as_array().unwrap().iter().map(|record| record["result"].clone()).collect();
    assert_eq!(results, ["replaced", "cancelled", "serving"], "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_different_stages_do_not_conflict() {
    let engine = engine().await;
    let first = hanging_swap(&engine, STAGE).await;
    let second = change(&engine, "POST", "/v1/swap?wait=true", &json!({ "stage": OTHER })).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!(ended(&engine, first).await["state"], "failed");
    assert_eq!((generation(&engine, STAGE).await, generation(&engine, OTHER).await), (1, 2));
}

/// A refusal may quote the configuration: an open read, which anybody on this machine may make, does not show it.
#[tokio::test(flavor = "multi_thread")]
async fn why_a_swap_failed_is_told_to_who_may_change_things() {
    let engine = engine().await;
    let secret = "hunter2-correct-horse";
    let config = json!({ "traces": { "span": [format!("name === \"{secret}\"")] } });
    let refused = change(&engine, "POST", "/v1/swap?wait=true", &json!({ "stage": STAGE, "config": config })).await;
    assert_eq!(refused.refused(), (422, "E0507".to_owned()));
    assert!(refused.text.contains("==="), "{refused:?}");
    for path in ["/v1/operations", "/v1/operations/1", "/v1/operations/1/events"] {
        let open = ask(&engine, "GET", path, &[], "").await;
        assert!(!open.text.contains(secret) && !open.text.contains("==="), "{path}: {open:?}");
        assert!(open.text.contains("configure"), "{path}: the step is told: {open:?}");
        let told = ask(&engine, "GET", path, &[bearer(&engine)], "").await;
        assert!(told.text.contains("==="), "{path}: {told:?}");
        let told = by_socket(&engine, "GET", path, &Value::Null).await;
        assert!(told.text.contains("==="), "{path}: {told:?}");
    }
}

/// Who hangs up has begun something all the same: it goes on to its end.
#[tokio::test(flavor = "multi_thread")]
async fn an_operation_outlives_who_asked_for_it() {
    let engine = engine().await;
    let stream = UnixStream::connect(socket(&engine)).await.unwrap();
    let headers = [("content-type", "application/json".to_owned())];
    let body = json!({ "stage": STAGE }).to_string();
    let asked = tokio::spawn(over(stream, request("POST", "/v1/swap?wait=true", &headers, body)));
    let end = tokio::time::Instant::now() + BOUND;
    while ask(&engine, "GET", "/v1/operations", &[], "").await.json()["operations"].as_array().unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < end, "it never began");
    }
    asked.abort();
    assert_eq!(ended(&engine, 1).await["state"], "succeeded");
    assert_eq!(generation(&engine, STAGE).await, 2);
}

/// A stream of events is open as long as the operation lasts, and each event comes as it happens.
#[tokio::test(flavor = "multi_thread")]
async fn events_come_while_it_lasts() {
    let engine = engine().await;
    let id = hanging_swap(&engine, STAGE).await;
    let stream = TcpStream::connect(engine.addresses.admin).await.unwrap();
    let path = format!("/v1/operations/{id}/events");
    let response = open(stream, request("GET", &path, &[], Bytes::new())).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let first = tokio::time::timeout(BOUND, body.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert!(first.starts_with("event: progress\ndata: ") && first.contains("\"running\""), "{first}");
    let cancelled = change(&engine, "DELETE", &format!("/v1/operations/{id}"), &Value::Null).await;
    assert_eq!(cancelled.status, 200);
    let rest = tokio::time::timeout(Duration::from_secs(30), body.collect()).await.unwrap().unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&rest).contains("\"cancelled\""), "{rest:?}");
}
