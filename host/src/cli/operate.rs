//! Following operations of a running engine.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use serde::Serialize;
use serde_json::Value;

use crate::admin::{Refusal, code};
use crate::cli::call::{Admin, Answered, Opened, open, post_json, request, tell};
use crate::cli::complain;
use crate::control::operations::{OperationState, Progress};

/// Longest line of a stream of events.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// How far following an operation came.
pub enum Followed {
    /// To its end.
    Ended(Box<Progress>),
    /// The engine is gone, or does not tell; what became of it is not known.
    Lost,
}

/// Asks for an operation, shows its steps on a terminal, and waits for its end: its result, as a caller who waits gets it.
pub async fn operate(admin: &Admin, path: &str, body: &impl Serialize) -> anyhow::Result<Answered> {
    let begun = match post_json(admin, path, body).await? {
        Answered::Yes(begun) => begun,
        no => return Ok(no),
    };
    let begun: Progress = serde_json::from_value(begun).context("the engine's answer is no operation")?;
    match follow(admin, begun.id, &mut show_on_terminal()).await? {
        Followed::Ended(progress) => Ok(result(*progress)),
        Followed::Lost => {
            complain(&format!(
                "error[E0506]: the engine at {} does not tell of operation {} any more\n  help:   it goes on where the engine lives: \
                 `sluicebox operations {} --watch`",
                admin.admin, begun.id, begun.id
            ));
            Ok(Answered::Unreachable)
        }
    }
}

/// Follows an operation to its end, telling of each state that is seen.
pub async fn follow(admin: &Admin, id: u64, told: &mut dyn FnMut(&Progress)) -> anyhow::Result<Followed> {
    loop {
        let asked = request(Method::GET, &format!("/v1/operations/{id}/events"));
        let asked = asked.header(header::ACCEPT, "text/event-stream").body(Full::default())?;
        let Opened::Yes(response) = open(admin, asked).await? else { return Ok(Followed::Lost) };
        let mut lines = Lines { body: response.into_body(), read: Vec::new() };
        let mut has_told = false;
        while let Some(line) = lines.next().await? {
            let Some(data) = line.strip_prefix("data:") else { continue };
            let progress: Progress = serde_json::from_str(data.trim()).context("the engine's events cannot be read")?;
            told(&progress);
            has_told = true;
            if progress.state != OperationState::Running {
                return Ok(Followed::Ended(Box::new(progress)));
            }
        }
        // A stream ends after some minutes; one that tells nothing is no stream.
        if !has_told {
            return Ok(Followed::Lost);
        }
    }
}

/// What came of it; what was no success is told.
fn result(progress: Progress) -> Answered {
    let result = progress.result.unwrap_or_default();
    if progress.state == OperationState::Succeeded {
        return Answered::Yes(result);
    }
    let refusal = serde_json::from_value(result);
    let refusal = refusal.unwrap_or_else(|_| Refusal::new(code::INTERNAL, "the operation was abandoned"));
    tell(&refusal);
    Answered::Refused(match refusal.code.as_str() {
        code::FILE => StatusCode::BAD_REQUEST,
        code::INTERNAL => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    })
}

/// Each step as it begins, for whoever sits before it; scripts get what came of it alone.
fn show_on_terminal() -> impl FnMut(&Progress) {
    let is_terminal = std::io::stderr().is_terminal();
    let mut shown = 0;
    move |progress| {
        for step in progress.steps.iter().skip(shown).filter(|_| is_terminal) {
            // Without a stderr there is nobody to show it to.
            let _unwritable = writeln!(std::io::stderr(), "  {} ...", step.step);
        }
        shown = progress.steps.len();
    }
}

/// Lines of a body as they come.
struct Lines {
    body: Incoming,
    read: Vec<u8>,
}

impl Lines {
    /// None at the end; a line that was begun and not ended is none.
    async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            anyhow::ensure!(self.read.len() <= EVENT_BYTES_MAX, "a line of the engine's events is too long");
            // An engine that stops may cut it.
            let Some(Ok(frame)) = self.body.frame().await else { return Ok(None) };
            if let Ok(chunk) = frame.into_data() {
                let chunk: Bytes = chunk;
                self.read.extend_from_slice(&chunk);
            }
        }
    }
}

/// For lists and reports: `running`, `succeeded`.
pub fn state_name(state: OperationState) -> String {
    let name = serde_json::to_value(state).ok().and_then(|name: Value| name.as_str().map(str::to_owned));
    name.unwrap_or_default()
}
