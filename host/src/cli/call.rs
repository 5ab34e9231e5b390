//! Calls of a running engine's admin API.

use std::net::SocketAddr;

use anyhow::Context;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::admin::Refusal;
use crate::cli::{complain, report};

const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What became of a call; what was no success has been told.
pub enum Answered {
    /// A success, and its body.
    Yes(Value),
    /// The engine said no.
    Refused(StatusCode),
    /// Nobody answered.
    Unreachable,
}

/// Sends a request and waits for its answer, however long compiling may take.
pub async fn call(admin: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Answered> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = match client.request(request).await {
        Ok(response) => response,
        Err(error) => {
            complain(&format!("error[E0506]: no engine answers at {admin}\n  detail: {}", report::chain(&error)));
            return Ok(Answered::Unreachable);
        }
    };
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the engine's answer cannot be read: {error}"))?.to_bytes();
    if status.is_success() {
        return Ok(Answered::Yes(serde_json::from_slice(&body).context("the engine's answer is not JSON")?));
    }
    let refusal = serde_json::from_slice::<Refusal>(&body).unwrap_or_else(|_| Refusal {
        error: format!("the engine answered {status}"),
        causes: Vec::new(),
        step: None,
    });
    let causes: String = refusal.causes.iter().map(|cause| format!("\n  detail: {cause}")).collect();
    complain(&format!("error[E0507]: {}{causes}", refusal.error));
    Ok(Answered::Refused(status))
}
