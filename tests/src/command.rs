//! The command line and the admin API of an engine under test.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use sluicebox::admin::token;

use crate::engine::{Engine, binary, environment, workspace};

/// Compiling a component may take as long.
const COMMAND_BOUND: Duration = Duration::from_secs(60);

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Exit code; None = ended by a signal.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// Runs `sluicebox` with these arguments in `directory`, without a terminal, and waits for it.
pub async fn run(directory: &Path, arguments: &[&str]) -> Result<Done> {
    run_with(directory, arguments, &[]).await
}

async fn run_with(directory: &Path, arguments: &[&str], variables: &[(&str, String)]) -> Result<Done> {
    let mut command = tokio::process::Command::new(binary()?);
    command.args(arguments).current_dir(directory).envs(environment(directory)).env("COLUMNS", "100");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = tokio::time::timeout(COMMAND_BOUND, command.output());
    let output = output.await.with_context(|| format!("{arguments:?} did not end"))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// The file of a guest that `make guests` built.
pub fn guest(name: &str) -> Result<String> {
    let file = workspace().join(format!("target/guests/{name}.wasm"));
    anyhow::ensure!(file.is_file(), "{} is missing: run `make guests` first", file.display());
    Ok(file.display().to_string())
}

impl Engine {
    /// Runs a command that speaks to this engine.
    pub async fn command(&self, arguments: &[&str]) -> Result<Done> {
        run_with(self.directory(), arguments, &[("SLUICEBOX_ADMIN", self.addresses.admin.to_string())]).await
    }

    /// Has a stage's configuration replaced over the admin API; the answer of a success.
    pub async fn swap_config(&self, stage: &str, config: &str) -> Result<Value> {
        let config: Value = serde_json::from_str(config)?;
        let body = serde_json::json!({ "stage": stage, "config": config });
        let (status, answer) = self.post("/v1/swap?wait=true", "application/json", body.to_string().into()).await?;
        anyhow::ensure!(status == 200, "{status}: {answer}");
        Ok(answer)
    }

    /// Posts to the admin API with its token; status and JSON body.
    pub async fn post(&self, path: &str, content_type: &str, body: Bytes) -> Result<(u16, Value)> {
        let admin = self.addresses.admin;
        let file = token::file(&self.directory().join("state"), admin.port());
        let token = token::read(&file).with_context(|| format!("no token in {}", file.display()))?;
        let request = Request::post(format!("http://{admin}{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", content_type)
            .body(Full::new(body))?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = tokio::time::timeout(COMMAND_BOUND, client.request(request)).await??;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body).with_context(|| format!("{status} with {body:?}"))?))
    }
}
