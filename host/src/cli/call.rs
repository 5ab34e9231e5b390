//! Calls of a running engine's admin API.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde_json::Value;

use crate::admin::{Refusal, USER_HEADER, code, token};
use crate::cli::{complain, exit, report};
use crate::control::Drift;

/// The history of a thousand stages.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where the engine is.
#[derive(Clone, Copy, Debug, Args)]
pub struct Admin {
    /// The admin API of the engine.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:13131", env = "SLUICEBOX_ADMIN")]
    pub admin: SocketAddr,
}

/// What became of a call; what was no success has been told.
pub enum Answered {
    /// A success, and its body.
    Yes(Value),
    /// The engine said no.
    Refused(StatusCode),
    /// Nobody answered.
    Unreachable,
}

impl Answered {
    /// The answer of a change, or the exit code where there is none: 6 where what served before serves on.
    pub fn of_change(self) -> Result<Value, ExitCode> {
        match self {
            Answered::Yes(answer) => Ok(answer),
            Answered::Refused(StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_FOUND | StatusCode::CONFLICT) => {
                Err(ExitCode::from(exit::SWAP_REFUSED))
            }
            Answered::Refused(_) => Err(ExitCode::from(exit::FAILED)),
            Answered::Unreachable => Err(ExitCode::from(exit::UNREACHABLE)),
        }
    }
}

/// Waits for a call, however long compiling may take.
pub fn wait<T>(call: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(call)
}

/// Asks for something.
pub async fn get(Admin { admin }: Admin, path: &str) -> anyhow::Result<Answered> {
    call(admin, Request::get(format!("http://{admin}{path}")).body(Full::default())?).await
}

/// Asks for a change.
pub async fn post_json(admin: Admin, path: &str, body: &impl Serialize) -> anyhow::Result<Answered> {
    post(admin, path, "application/json", serde_json::to_vec(body)?).await
}

/// The same with any body.
pub async fn post(Admin { admin }: Admin, path: &str, content_type: &str, body: Vec<u8>) -> anyhow::Result<Answered> {
    let state = token::default_state_dir().context("no folder for state: set SLUICEBOX_STATE_DIR or HOME")?;
    let file = token::file(&state, admin.port());
    let Some(token) = token::read(&file) else {
        complain(&format!(
            "error[E0506]: no engine of this user answers at {admin}\n  detail: no admin token in {}",
            file.display()
        ));
        return Ok(Answered::Unreachable);
    };
    let request = Request::post(format!("http://{admin}{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, content_type)
        .header(USER_HEADER, user())
        .body(Full::new(Bytes::from(body)))?;
    call(admin, request).await
}

/// Sends a request and waits for its answer.
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
    let refusal = serde_json::from_slice::<Refusal>(&body)
        .unwrap_or_else(|_| Refusal::new(code::CHANGE, format!("the engine answered {status}")));
    let causes: String = refusal.causes.iter().map(|cause| format!("\n  detail: {cause}")).collect();
    let help = refusal.help.map_or_else(String::new, |help| format!("\n  help:   {help}"));
    complain(&format!("error[{}]: {}{causes}{help}", refusal.code, refusal.error));
    Ok(Answered::Refused(status))
}

/// Prints what a stage served and serves, and where the file says otherwise.
pub fn print_swapped(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let text = |value: Option<&Value>| printable(value.and_then(Value::as_str).unwrap_or_default());
    let version = |which: &str| {
        let of = |key: &str| answer.get(which).and_then(|version| version.get(key));
        let digest = text(of("digest"));
        let number = of("generation").and_then(Value::as_u64).unwrap_or_default();
        format!("generation {number} sha256:{}", digest.get(..12).unwrap_or(&digest))
    };
    let again = answer.get("rollback_to").and_then(Value::as_u64);
    let again = again.map_or_else(String::new, |number| format!(" ({number} again)"));
    writeln!(out, "{}: {} -> {}{again}", text(answer.get("stage")), version("old"), version("new"))?;
    let drift = answer.get("drift").and_then(|drift| serde_json::from_value::<Drift>(drift.clone()).ok());
    drift.map_or(Ok(()), |drift| writeln!(out, "{}", printable(&drift.to_string())))
}

/// Names of files, stages and people must not steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whose command this is: what the environment says, else the number of the user.
fn user() -> String {
    let set = |name: &str| std::env::var(name).ok().filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()));
    set("USER")
        .or_else(|| set("LOGNAME"))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::geteuid().as_raw()))
}
