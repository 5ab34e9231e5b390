//! The demo's processes: ended by their ids, whatever happens.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// Lines of output kept for when the process dies.
const LINES_MAX: usize = 20;
const STOP_BOUND: Duration = Duration::from_secs(10);

/// A child process and the last lines that it wrote.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

type Lines = Arc<Mutex<VecDeque<String>>>;

impl Process {
    /// Starts this program again with these arguments.
    pub(super) fn start(name: &'static str, arguments: &[&str], environment: &[(&str, String)]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("find this program's file")?);
        command
            .args(arguments)
            .envs(environment.iter().map(|(key, value)| (*key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal is for the demo, which ends its processes in order.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let stdout = child.stdout.take().map(collect).unwrap_or_default();
        let stderr = child.stderr.take().map(collect).unwrap_or_default();
        Ok(Self { name, child, stdout, stderr })
    }

    /// Its process id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it printed and nobody took yet.
    pub(super) fn take_printed(&self) -> Vec<String> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// An error with its last words, if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let lines = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
                let last: Vec<_> = lines.iter().map(String::as_str).collect();
                anyhow::bail!("{} ended ({status}); its last lines:\n{}", self.name, last.join("\n"))
            }
        }
    }

    /// Asks it to end (SIGTERM) and makes it end after ten seconds.
    pub(super) async fn stop(&mut self) -> Result<ExitStatus> {
        let pid = self.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended since.
            let _gone = kill_process(pid, Signal::TERM);
        }
        if let Ok(status) = tokio::time::timeout(STOP_BOUND, self.child.wait()).await {
            return Ok(status?);
        }
        self.child.kill().await?;
        Ok(self.child.wait().await?)
    }
}

/// Keeps the last lines of a pipe; ends with it.
fn collect(pipe: impl AsyncRead + Unpin + Send + 'static) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    tokio::spawn(async move {
        let mut reader = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = reader.next_line().await {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LINES_MAX {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    });
    lines
}
