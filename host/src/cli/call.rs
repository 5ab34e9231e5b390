//! Calls of a running engine's admin API.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use serde::Serialize;
use serde_json::Value;

use crate::admin::{Refusal, USER_HEADER, code, token};
pub use crate::cli::transport::Admin;
use crate::cli::transport::{Connected, Endpoint, connect};
use crate::cli::{complain, exit, report};
use crate::control::Drift;

/// The history of a thousand stages.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Instead of the file in the state folder.
const TOKEN_VARIABLE: &str = "SLUICEBOX_ADMIN_TOKEN";

/// What became of a call; what was no success has been told.
pub enum Answered {
    /// A success, and its body.
    Yes(Value),
    /// The engine said no.
    Refused(StatusCode),
    /// Nobody answered.
    Unreachable,
}

/// The beginning of an answer.
pub enum Opened {
    /// A success, whose body is still to come.
    Yes(Response<Incoming>),
    /// What it is otherwise; it has been told.
    No(Answered),
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

    /// The answer of a question, or the exit code where there is none.
    pub fn of_question(self) -> Result<Value, ExitCode> {
        match self {
            Answered::Yes(answer) => Ok(answer),
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
pub async fn get(admin: &Admin, path: &str) -> anyhow::Result<Answered> {
    call(admin, request(Method::GET, path).body(Full::default())?).await
}

/// Asks for a change.
pub async fn post_json(admin: &Admin, path: &str, body: &impl Serialize) -> anyhow::Result<Answered> {
    post(admin, path, "application/json", serde_json::to_vec(body)?).await
}

/// The same with any body.
pub async fn post(admin: &Admin, path: &str, content_type: &str, body: Vec<u8>) -> anyhow::Result<Answered> {
    let request = request(Method::POST, path).header(header::CONTENT_TYPE, content_type);
    call(admin, request.body(Full::new(Bytes::from(body)))?).await
}

/// Asks for the end of something.
pub async fn delete(admin: &Admin, path: &str) -> anyhow::Result<Answered> {
    call(admin, request(Method::DELETE, path).body(Full::default())?).await
}

/// A request of the admin API, to be sent by [`call`] or [`open`].
pub fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// Sends a request and waits for its answer.
pub async fn call(admin: &Admin, request: Request<Full<Bytes>>) -> anyhow::Result<Answered> {
    let response = match open(admin, request).await? {
        Opened::Yes(response) => response,
        Opened::No(answered) => return Ok(answered),
    };
    let body = read(response).await?;
    Ok(Answered::Yes(serde_json::from_slice(&body).context("the engine's answer is not JSON")?))
}

/// Sends a request; the body of its answer comes as it is read.
pub async fn open(admin: &Admin, mut request: Request<Full<Bytes>>) -> anyhow::Result<Opened> {
    let Connected { mut sender, knows_who } = match connect(admin).await {
        Ok(connected) => connected,
        Err(error) => return Ok(unreachable(admin, &chain(&error))),
    };
    let is_read = *request.method() == Method::GET;
    // Why an operation failed is told to who may change things.
    let is_told_more = request.uri().path().starts_with("/v1/operations");
    let is_remote = matches!(admin.admin, Endpoint::Https { .. });
    let headers = request.headers_mut();
    headers.insert(header::HOST, admin.admin.authority().parse()?);
    // Whoever listens on a port of this machine is shown the token only if it is needed.
    if !knows_who && (is_remote || !is_read || is_told_more) {
        let Some(token) = token_of(admin)? else { return Ok(Opened::No(Answered::Unreachable)) };
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse()?);
        headers.insert(USER_HEADER, user().parse()?);
    }
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(error) => return Ok(unreachable(admin, &report::chain(&error))),
    };
    let status = response.status();
    if status.is_success() {
        return Ok(Opened::Yes(response));
    }
    let body = read(response).await?;
    let refusal = serde_json::from_slice::<Refusal>(&body)
        .unwrap_or_else(|_| Refusal::new(code::CHANGE, format!("the engine answered {status}")));
    tell(&refusal);
    Ok(Opened::No(Answered::Refused(status)))
}

/// Says what the engine refused, and why.
pub fn tell(refusal: &Refusal) {
    let causes: String = refusal.causes.iter().map(|cause| format!("\n  detail: {cause}")).collect();
    let help = refusal.help.as_ref().map_or_else(String::new, |help| format!("\n  help:   {help}"));
    complain(&format!("error[{}]: {}{causes}{help}", refusal.code, refusal.error));
}

fn unreachable(admin: &Admin, detail: &str) -> Opened {
    complain(&format!("error[E0506]: no engine answers at {}\n  detail: {detail}", admin.admin));
    Opened::No(Answered::Unreachable)
}

async fn read(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("the engine's answer cannot be read: {error}"))?.to_bytes())
}

/// From the environment, else from the file that the engine of this user keeps; None has been told.
fn token_of(admin: &Admin) -> anyhow::Result<Option<String>> {
    if let Some(token) = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()) {
        return Ok(Some(token));
    }
    let state = token::default_state_dir().context("no folder for state: set SLUICEBOX_STATE_DIR or HOME")?;
    let file = token::file(&state, admin.admin.port().unwrap_or_default());
    let token = token::read(&file);
    if token.is_none() {
        complain(&format!(
            "error[E0506]: no engine of this user answers at {}\n  detail: no admin token in {}, and {TOKEN_VARIABLE} is not set",
            admin.admin,
            file.display()
        ));
    }
    Ok(token)
}

fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join("\n  detail: ")
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
