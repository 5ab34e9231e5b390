//! `sluicebox swap`: a thin call of the admin API.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;

use crate::admin::{SwapRequest, token};
use crate::cli::call::{Answered, call};
use crate::cli::{complain, exit};
use crate::config;

/// Arguments of `swap`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicebox swap wasm/mine build/mine.wasm\n  sluicebox swap filter/health --config new-rules.yaml"
)]
pub struct SwapArgs {
    /// The stage, as in the file: filter/health.
    stage: String,
    /// The new component; the serving one is kept if this is not given.
    component: Option<PathBuf>,
    /// The stage's new configuration (its block alone, YAML or JSON); the serving one is kept if this is not given.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin API of the engine.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:13131", env = "SLUICEBOX_ADMIN")]
    admin: SocketAddr,
}

/// Swaps and prints the old and the new generation; exit 6 if the old one still serves.
pub fn run(args: &SwapArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if args.component.is_none() && args.config.is_none() {
        bail!("nothing to swap: name a component, --config FILE, or both");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(swap(args, out))
}

async fn swap(args: &SwapArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let config = match args.config.as_deref().map(config::read_value).transpose() {
        Ok(config) => config,
        Err(report) => {
            complain(&report.to_string());
            return Ok(ExitCode::from(exit::CONFIG));
        }
    };
    let mut digest = None;
    if let Some(path) = &args.component {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let answer = match post(args.admin, "/v1/components", "application/wasm", bytes).await? {
            Posted::Yes(answer) => answer,
            Posted::No(code) => return Ok(code),
        };
        digest = answer.get("digest").and_then(Value::as_str).map(str::to_owned);
    }
    let request = SwapRequest { stage: args.stage.clone(), digest, config };
    let answer = match post(args.admin, "/v1/swap", "application/json", serde_json::to_vec(&request)?).await? {
        Posted::Yes(answer) => answer,
        Posted::No(code) => return Ok(code),
    };
    let version = |which: &str| {
        let text = |key: &str| answer.get(which).and_then(|version| version.get(key)).cloned().unwrap_or_default();
        let digest = text("digest");
        let digest = digest.as_str().unwrap_or_default().to_owned();
        format!("generation {} sha256:{}", text("generation"), digest.get(..12).unwrap_or(&digest))
    };
    writeln!(out, "{}: {} -> {}", args.stage, version("old"), version("new"))?;
    if answer.get("drained") != Some(&Value::Bool(true)) {
        writeln!(out, "the old generation still has a batch; it ends with it")?;
    }
    if answer.get("drifted") == Some(&Value::Bool(true)) {
        writeln!(out, "the file does not say this: a restart returns to what it says")?;
    }
    Ok(ExitCode::SUCCESS)
}

enum Posted {
    Yes(Value),
    No(ExitCode),
}

async fn post(admin: SocketAddr, path: &str, content_type: &str, body: Vec<u8>) -> anyhow::Result<Posted> {
    let state = token::default_state_dir().context("no folder for state: set SLUICEBOX_STATE_DIR or HOME")?;
    let file = token::file(&state, admin.port());
    let Some(token) = token::read(&file) else {
        complain(&format!(
            "error[E0506]: no engine of this user answers at {admin}\n  detail: no admin token in {}",
            file.display()
        ));
        return Ok(Posted::No(ExitCode::from(exit::UNREACHABLE)));
    };
    let request = Request::post(format!("http://{admin}{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, content_type)
        .body(Full::new(Bytes::from(body)))?;
    Ok(match call(admin, request).await? {
        Answered::Yes(answer) => Posted::Yes(answer),
        Answered::Refused(StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_FOUND) => {
            Posted::No(ExitCode::from(exit::SWAP_REFUSED))
        }
        Answered::Refused(_) => Posted::No(ExitCode::from(exit::FAILED)),
        Answered::Unreachable => Posted::No(ExitCode::from(exit::UNREACHABLE)),
    })
}
