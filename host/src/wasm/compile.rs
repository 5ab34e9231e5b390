//! Compiling in a process of its own: wasmtime's promises do not cover it, it takes seconds and hundreds of MiB, and what it took
//! comes back only when the process ends. Both sides are here.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit};

use super::component::COMPONENT_BYTES_MAX;
use super::engine::{Cpu, engine};
use super::error::CompileError;
use super::fault::printable;

/// The hidden verb that runs [`child_main`].
pub const VERB: &str = "compile-component";

/// Longest compilation. A 16 MiB JavaScript component takes 10 s of CPU.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(120);
/// CPU seconds of all threads of the compiler.
const COMPILE_CPU_SECONDS_MAX: u64 = 240;
/// Address space of the compiler.
const COMPILE_ADDRESS_SPACE_BYTES_MAX: u64 = 6 << 30;
/// Largest machine code.
const ARTIFACT_BYTES_MAX: u64 = 512 << 20;
/// How much the compiler gives way to the data path.
const COMPILE_NICE: i32 = 10;
/// Longest message of the compiler that is shown.
const MESSAGE_CHARS_MAX: usize = 2000;
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// How to start the compiler: a program that calls [`child_main`].
#[derive(Clone, Debug)]
pub struct Compiler {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Compiler {
    /// This executable with [`VERB`]. The file may have been replaced since it was started, so the running one is named.
    pub fn this_executable() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), args: vec![VERB.into()] }
    }

    /// Another program.
    pub fn program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new() }
    }

    /// Compiles for this machine's CPU; the machine code is written to `artifact`, an empty file.
    pub(super) fn compile(&self, wasm: &[u8], artifact: &File) -> Result<(), CompileError> {
        let input = file_of(wasm).map_err(CompileError::Run)?;
        let messages = tempfile::tempfile().map_err(CompileError::Run)?;
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(artifact.try_clone().map_err(CompileError::Run)?))
            .stderr(Stdio::from(messages.try_clone().map_err(CompileError::Run)?))
            .env_clear()
            .current_dir("/")
            .spawn()
            .map_err(CompileError::Run)?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().map_err(CompileError::Run)? {
                break status;
            }
            if started.elapsed() > COMPILE_TIMEOUT {
                child.kill().and_then(|()| child.wait()).map_err(CompileError::Run)?;
                return Err(CompileError::Timeout { seconds: COMPILE_TIMEOUT.as_secs() });
            }
            thread::sleep(POLL_INTERVAL);
        };
        if status.success() { Ok(()) } else { Err(failure(status, messages)) }
    }
}

fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn failure(status: ExitStatus, mut messages: File) -> CompileError {
    let mut text = Vec::new();
    // Without its messages the status still tells that it failed.
    let _unreadable = messages.rewind().and_then(|()| messages.take(64 << 10).read_to_end(&mut text));
    let mut message = printable(&String::from_utf8_lossy(&text), MESSAGE_CHARS_MAX);
    if message.is_empty() {
        message = limit_met(status.signal()).to_owned();
    }
    CompileError::Failed { status: status.to_string(), message }
}

/// Which limit a compiler met that was ended by this signal and could not say why itself.
fn limit_met(signal: Option<i32>) -> &'static str {
    match signal {
        Some(signal) if signal == Signal::XCPU.as_raw() => "it took more CPU time than compiling may take",
        Some(signal) if signal == Signal::XFSZ.as_raw() => "it made more machine code than a component may have",
        Some(signal) if signal == Signal::ABORT.as_raw() => "it needed more memory than compiling may take",
        Some(_) | None => "it said nothing; one of its limits may have ended it",
    }
}

/// The compiler's process: bounds itself, reads a component from standard input, writes machine code to standard output.
pub fn child_main() -> ExitCode {
    let result = limit_this_process().and_then(|()| {
        let mut wasm = Vec::new();
        io::stdin().lock().take(COMPONENT_BYTES_MAX + 1).read_to_end(&mut wasm)?;
        if wasm.len() as u64 > COMPONENT_BYTES_MAX {
            return Err(io::Error::other("the component is too large"));
        }
        let artifact = precompile(&wasm, Cpu::Native).map_err(|error| io::Error::other(format!("{error:#}")))?;
        io::stdout().lock().write_all(&artifact)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails too; the exit code still says it.
            let _unwritable = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn limit_this_process() -> io::Result<()> {
    for (resource, max) in [
        (Resource::Cpu, COMPILE_CPU_SECONDS_MAX),
        (Resource::As, COMPILE_ADDRESS_SPACE_BYTES_MAX),
        (Resource::Fsize, ARTIFACT_BYTES_MAX),
        (Resource::Core, 0),
    ] {
        // Whoever started the engine may have set lower ones, which count, and which cannot be raised.
        let set = getrlimit(resource);
        let least = |set: Option<u64>, max: u64| Some(set.map_or(max, |set| set.min(max)));
        // Past the first the process gets the signal that says which limit it was, past the second it is ended without.
        let (current, maximum) = (least(set.current, max), least(set.maximum, max.saturating_add(1)));
        setrlimit(resource, Rlimit { current, maximum })?;
    }
    // Where memory is short, the compiler goes before the engine (proc_pid_oom_score_adj(5)).
    let _kernel_without_it = std::fs::write("/proc/self/oom_score_adj", "1000");
    // Ends with the engine that waits for it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(COMPILE_NICE)?;
    Ok(())
}

/// Compiles in this process, without limits: for building bundled components, and inside the compiler's process.
pub fn precompile(wasm: &[u8], cpu: Cpu) -> wasmtime::Result<Vec<u8>> {
    engine(cpu)?.precompile_component(wasm)
}
