//! Connections of receivers: silence, number, end.

use std::time::Duration;

use sluicebox::config::model::GrpcServer;
use sluicebox::receive::{Limits, Server};
use sluicebox::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{call, call_on, connect2, post, whole};
use crate::support::receiver::{Receiver, Setup};
use crate::support::{PATIENCE, framed, soon, until};

/// Connects, says `words`, and waits until the server has hung up.
async fn is_closed_after(receiver: &Receiver, words: &[u8]) {
    let mut stream = TcpStream::connect(receiver.address).await.expect("connects");
    stream.write_all(words).await.expect("writes");
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _read = soon(stream.read_to_end(&mut answer)).await;
}

fn hasty() -> Setup {
    let limits = Limits {
        greeting_timeout: Duration::from_millis(50),
        header_timeout: Duration::from_millis(50),
        keepalive_interval: Duration::from_millis(50),
        keepalive_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    Setup { limits, ..Setup::default() }
}

#[tokio::test]
async fn who_says_too_little_is_hung_up_on() {
    for receiver in [hasty().grpc(), hasty().http()] {
        is_closed_after(&receiver, b"").await;
        is_closed_after(&receiver, b"PRI * HTTP/2.0\r\n").await;
        assert!(receiver.script.seen().is_empty());
    }
    is_closed_after(&hasty().http(), b"P").await;
    is_closed_after(&hasty().http(), b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-").await;
    // The whole preface, then silence: pings are not answered.
    is_closed_after(&hasty().grpc(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
}

#[tokio::test]
async fn who_has_spoken_is_kept() {
    let receiver = hasty().grpc();
    let mut connection = connect2(receiver.address).await;
    for _ in 0..5 {
        let body = whole(framed(0, b"x"));
        assert_eq!(call_on(&mut connection, Signal::Traces.grpc_path(), &[], body).await.code, Some(0));
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let receiver = Setup { limits, ..Setup::default() }.grpc();
    let mut first = connect2(receiver.address).await;
    let path = Signal::Traces.grpc_path();
    assert_eq!(call_on(&mut first, path, &[], whole(framed(0, b"first"))).await.code, Some(0));
    let second = tokio::spawn(call(receiver.address, Signal::Traces, &[], whole(framed(0, b"second"))));
    assert_eq!(call_on(&mut first, path, &[], whole(framed(0, b"first"))).await.code, Some(0));
    assert!(receiver.script.seen().iter().all(|(_, body)| body == "first"));
    drop(first);
    assert_eq!(soon(second).await.expect("is answered").code, Some(0));
}

#[tokio::test]
async fn shutdown_waits_for_requests_in_flight() {
    for http in [false, true] {
        let receiver = if http { Setup::default().http() } else { Setup::default().grpc() };
        let Receiver { script, address, handle, .. } = receiver;
        script.hold();
        let in_flight = tokio::spawn(async move {
            if http {
                i32::from(post(address, Signal::Traces, &[], "x").await.status != 200)
            } else {
                call(address, Signal::Traces, &[], whole(framed(0, b"x"))).await.code.expect("has a code")
            }
        });
        until("the request is held", || script.seen().len() == 1).await;
        let shutdown = tokio::spawn(handle.shutdown(PATIENCE));
        let refuses = async { while TcpStream::connect(address).await.is_ok() {} };
        soon(refuses).await;
        assert!(!shutdown.is_finished());
        script.release();
        assert_eq!(soon(in_flight).await.expect("is answered"), 0);
        assert!(soon(shutdown).await.expect("ends"), "nothing was cut");
    }
}

#[tokio::test]
async fn shutdown_cuts_what_takes_too_long() {
    let receiver = Setup::default().grpc();
    receiver.script.hold();
    let mut connection = connect2(receiver.address).await;
    let request = http::Request::post(format!("http://localhost{}", Signal::Traces.grpc_path()))
        .header("content-type", "application/grpc")
        .body(whole(framed(0, b"x")))
        .expect("is valid");
    let in_flight = tokio::spawn(connection.send_request(request));
    until("the request is held", || receiver.script.seen().len() == 1).await;
    assert!(!soon(receiver.handle.shutdown(Duration::from_millis(50))).await);
    assert!(soon(in_flight).await.expect("ends").is_err());
}

#[tokio::test]
async fn a_failed_bind_says_where_who_and_by_whom() {
    let receiver = Setup::default().grpc();
    let config = GrpcServer { endpoint: receiver.address, message_bytes_max: 1, streams_max: None };
    let error = Server::bind_grpc("otlp/second", &config, Limits::default()).expect_err("is taken");
    let text = error.to_string();
    assert!(text.contains("otlp/second") && text.contains(&receiver.address.to_string()), "{text}");
    if cfg!(target_os = "linux") {
        assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    }
}
