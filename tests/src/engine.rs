//! A real `sluicebox` process under test.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};

use crate::account::Metrics;

/// Compiling components may take as long.
const START_BOUND: Duration = Duration::from_secs(120);
/// Ports for engines under test: 20000 to 31999.
const PORT_MIN: u16 = 20_000;
const PORTS: u16 = 12_000;
const STOP_BOUND: Duration = Duration::from_secs(20);

/// Goes under `service:` of a config, in flow style: own metrics on `$METRICS`, few log lines.
pub const TELEMETRY: &str = "telemetry: { logs: { level: warn }, metrics: { address: \"$METRICS\" } }";

/// Free addresses on loopback.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// OTLP/gRPC.
    pub grpc: SocketAddr,
    /// OTLP/HTTP.
    pub http: SocketAddr,
    /// `/metrics`.
    pub metrics: SocketAddr,
    /// Admin API.
    pub admin: SocketAddr,
}

impl Addresses {
    /// Ports that were free a moment ago.
    pub fn free() -> Result<Self> {
        Ok(Self { grpc: free_port()?, http: free_port()?, metrics: free_port()?, admin: free_port()? })
    }

    /// Replaces `$GRPC`, `$HTTP` and `$METRICS` (host:port) in a config, and gives the admin API an address of its own.
    pub fn fill(&self, config: &str) -> String {
        // The usual port would be taken when tests run side by side.
        format!("admin: {{ address: \"$ADMIN\" }}\n{config}")
            .replace("$GRPC", &self.grpc.to_string())
            .replace("$HTTP", &self.http.to_string())
            .replace("$METRICS", &self.metrics.to_string())
            .replace("$ADMIN", &self.admin.to_string())
    }
}

/// A port below those that the system gives to outgoing connections, which would take it again before the engine does. Each is
/// given once; processes that test at the same time start at different ones.
fn free_port() -> Result<SocketAddr> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 97)? * 120;
    for _ in 0..PORTS {
        let port = PORT_MIN + first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port between {PORT_MIN} and {}", PORT_MIN + PORTS)
}

/// A process and the directory of its config and output; both end when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    directory: tempfile::TempDir,
}

/// An engine that accepts.
#[derive(Debug)]
pub struct Engine {
    /// Where it listens.
    pub addresses: Addresses,
    /// Its process.
    pub process: Process,
}

impl Engine {
    /// Starts the engine on a config in which `$GRPC`, `$HTTP` and `$METRICS` stand for free addresses.
    pub async fn start(config: &str) -> Result<Self> {
        Self::start_with(config, &[]).await
    }

    /// The same with further arguments, such as `--watch`.
    pub async fn start_with(config: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_in(arguments, |directory, addresses| {
            Ok(fs::write(directory.join("sluicebox.yaml"), addresses.fill(config))?)
        })
        .await
    }

    /// The same by another build of the engine.
    pub async fn start_build(build: &Path, config: &str) -> Result<Self> {
        let prepare = |directory: &Path, addresses: &Addresses| {
            Ok(fs::write(directory.join("sluicebox.yaml"), addresses.fill(config))?)
        };
        Self::start_build_in(build, &[], prepare).await
    }

    /// The same with a directory that `prepare` fills: it has to leave a `sluicebox.yaml` in it.
    pub async fn start_in(arguments: &[&str], prepare: impl FnOnce(&Path, &Addresses) -> Result<()>) -> Result<Self> {
        Self::start_build_in(&binary()?, arguments, prepare).await
    }

    async fn start_build_in(
        build: &Path,
        arguments: &[&str],
        prepare: impl FnOnce(&Path, &Addresses) -> Result<()>,
    ) -> Result<Self> {
        let addresses = Addresses::free()?;
        let directory = tempfile::tempdir()?;
        prepare(directory.path(), &addresses)?;
        let mut command = Command::new(build);
        command.arg("--config").arg(directory.path().join("sluicebox.yaml")).args(arguments);
        command.envs(environment(directory.path())).current_dir(directory.path());
        let mut engine = Self { addresses, process: Process::spawn(command, directory)? };
        engine.until_ready().await?;
        Ok(engine)
    }

    /// Its directory, with the config file, what it keeps and what it wrote.
    pub fn directory(&self) -> &Path {
        self.process.directory.path()
    }

    /// The config file, to be changed under `--watch`.
    pub fn config_file(&self) -> PathBuf {
        self.directory().join("sluicebox.yaml")
    }

    /// Replaces the config file by renaming another one onto it.
    pub fn rewrite(&self, config: &str) -> Result<()> {
        let new = self.directory().join("sluicebox.yaml.new");
        fs::write(&new, self.addresses.fill(config))?;
        Ok(fs::rename(new, self.config_file())?)
    }

    /// Own metrics now.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&get(self.addresses.metrics, "/metrics").await?)
    }

    /// Waits until nothing is held or queued (at most `bound`), then checks the account.
    pub async fn settled_account(&self, bound: Duration) -> Result<Metrics> {
        let end = Instant::now() + bound;
        loop {
            let metrics = self.metrics().await?;
            let wrong = metrics.imbalances();
            if metrics.at_rest() && wrong.is_empty() {
                return Ok(metrics);
            }
            if Instant::now() >= end {
                let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
                bail!("the account does not hold (at rest: {}): {}", metrics.at_rest(), wrong.join("; "));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until its metrics are `as_wanted` (at most `bound`); those metrics.
    pub async fn until(&self, bound: Duration, what: &str, as_wanted: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let end = Instant::now() + bound;
        loop {
            let metrics = self.metrics().await?;
            if as_wanted(&metrics) {
                return Ok(metrics);
            }
            ensure!(Instant::now() < end, "not within {bound:?}: {what}\n{}", self.process.stderr());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_ready(&mut self) -> Result<()> {
        let bound = self.addresses;
        self.process
            .until(START_BOUND, "accept on its addresses", || {
                [bound.grpc, bound.metrics].iter().all(|address| std::net::TcpStream::connect(address).is_ok())
            })
            .await?;
        // Ports are bound before anything is built; pages are served when all is.
        let end = Instant::now() + START_BOUND;
        while let Err(error) = get(bound.metrics, "/metrics").await {
            ensure!(self.process.alive() && Instant::now() < end, "{error:#}:\n{}", self.process.stderr());
        }
        Ok(())
    }
}

impl Process {
    /// Spawns `command` with its output in files of `directory`.
    pub fn spawn(mut command: Command, directory: tempfile::TempDir) -> Result<Self> {
        command.stdin(Stdio::null());
        command.stdout(fs::File::create(directory.path().join("stdout"))?);
        command.stderr(fs::File::create(directory.path().join("stderr"))?);
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self { child, directory })
    }

    /// Waits until `ready`, the process's end or `bound`; the last two are errors that show what it wrote.
    pub async fn until(&mut self, bound: Duration, what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + bound;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the process ended ({status}) before it could {what}:\n{}", self.stderr());
            }
            ensure!(Instant::now() < end, "the process did not {what} within {bound:?}:\n{}", self.stderr());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.directory.path().join("stderr"))
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.directory.path().join("stdout"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, at most `bound`.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + bound;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < end, "still running after {bound:?}:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// True until it has ended.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time so far, user and system, of all its threads.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // proc_pid_stat(5): after the name in parentheses come fields 3 and on; utime is 14, stime is 15.
        let (_, fields) = stat.rsplit_once(')').context("/proc stat")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> Result<u64> { Ok(fields.next().context("/proc stat")?.parse()?) };
        let total = ticks()? + ticks()?;
        Ok(Duration::from_secs_f64(total as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Resident memory, in bytes.
    pub fn rss_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("/proc status")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// Asks it to end (SIGTERM), makes it end after a bound (SIGKILL); its exit status.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        let end = Instant::now() + STOP_BOUND;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        // A child that was waited for has no pid of ours any more.
        if self.alive()
            && let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw)
        {
            // It may have ended since.
            let _gone = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.alive() {
            // Ends at once: whoever wants a shutdown in order calls `stop`.
            let _ended = self.child.kill();
        }
        let _ended = self.child.wait();
    }
}

/// Where an engine, and commands that speak to it, keep things: nothing of a test lies outside of its directory.
pub fn environment(directory: &Path) -> [(&'static str, PathBuf); 4] {
    [
        ("SLUICEBOX_STATE_DIR", directory.join("state")),
        ("SLUICEBOX_CACHE_DIR", directory.join("cache")),
        ("HOME", directory.to_path_buf()),
        ("TMPDIR", directory.to_path_buf()),
    ]
}

/// The engine: `SLUICEBOX_BIN`, else the workspace's release build.
pub fn binary() -> Result<PathBuf> {
    let file = match std::env::var_os("SLUICEBOX_BIN") {
        Some(file) => PathBuf::from(file),
        None => workspace().join("target/release/sluicebox"),
    };
    ensure!(file.is_file(), "{} is missing: run `make build` first", file.display());
    Ok(file)
}

/// The root of the source tree.
pub fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// The body of a GET.
pub async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let response = client.get(format!("http://{address}{path}").parse()?);
    let response = tokio::time::timeout(Duration::from_secs(10), response).await??;
    ensure!(response.status().is_success(), "GET {path}: {}", response.status());
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
}

/// Status and body of a GET, whatever they are; `accept` goes into the request's header of that name.
pub async fn ask(address: SocketAddr, path: &str, accept: &str) -> Result<(u16, String)> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let request = http::Request::get(format!("http://{address}{path}")).header("accept", accept);
    let response = tokio::time::timeout(Duration::from_secs(10), client.request(request.body(Empty::new())?)).await??;
    let status = response.status().as_u16();
    Ok((status, String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?))
}

fn read(file: &Path) -> String {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
