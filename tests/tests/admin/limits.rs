//! What is too large or too slow.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{STAGE, ask, bearer, change, engine, generation};

/// A head is to be there within 15 s; this is for slow machines.
const CLOSED: Duration = Duration::from_secs(60);

/// What is answered to these bytes, until the connection is closed.
async fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The engine may close it before it has read all.
    let _cut = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(CLOSED, stream.read_to_end(&mut answer)).await;
    let _reset = read.expect("the connection is closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_cut() {
    let engine = engine().await;
    let admin = engine.addresses.admin;
    let (slow, tls) = tokio::join!(
        raw(admin, b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\nx-slow: "),
        raw(admin, &[0x16, 3, 1, 0, 5, 1]),
    );
    assert!(!slow.contains("200 OK") && !tls.contains("200 OK"), "{slow} {tls}");
    assert_eq!(ask(&engine, "GET", "/v1/status", &[], "").await.status, 200, "others are answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let engine = engine().await;
    let long = format!("GET /v1/status HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "a".repeat(100 << 10));
    let many: String = (0..500).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = format!("GET /v1/status HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
    for head in [long, many] {
        let answer = raw(engine.addresses.admin, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.is_empty(), "{answer}");
    }
    assert_eq!(ask(&engine, "GET", "/v1/status", &[], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_large_or_something_else_are_refused() {
    let engine = engine().await;
    let large = "x".repeat(65 << 10);
    let answer = change(&engine, "POST", "/v1/rollback", &json!({ "stage": large })).await;
    assert_eq!(answer.refused(), (413, "E0525".to_owned()));
    // The route of swaps takes as much as a file may hold.
    let answer = change(&engine, "POST", "/v1/swap?wait=true", &json!({ "stage": large })).await;
    assert_eq!(answer.status, 404, "{}", answer.status);
    let json = ("content-type", "application/json".to_owned());
    let ask_with = async |body: &str, headers: Vec<(&str, String)>| {
        ask(&engine, "POST", "/v1/swap", &headers, body).await.refused()
    };
    assert_eq!(ask_with("{", vec![bearer(&engine), json.clone()]).await, (400, "E0524".to_owned()));
    assert_eq!(ask_with("{}", vec![bearer(&engine), json.clone()]).await, (422, "E0524".to_owned()));
    assert_eq!(ask_with("{}", vec![bearer(&engine)]).await, (415, "E0524".to_owned()));
    let wrong = ask(&engine, "POST", "/v1/swap?wait=maybe", &[bearer(&engine), json], "{}").await;
    assert_eq!(wrong.refused(), (400, "E0524".to_owned()));
    let wrong = ask(&engine, "GET", "/v1/operations/first", &[], "").await;
    assert_eq!(wrong.refused(), (400, "E0524".to_owned()));
    assert_eq!(generation(&engine, STAGE).await, 1);
    let operations = ask(&engine, "GET", "/v1/operations", &[], "").await.json();
    assert_eq!(operations["operations"], json!([]), "nothing began, and no name of any length is kept");
}
