//! What served before: going back to it, the history of it, and where the file says otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal as UnixSignal;
use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{Answer, Connection, Protocol};
use sluicebox_tests::command::guest;
use sluicebox_tests::config::{Config, drop_spans, drop_spans_json};
use sluicebox_tests::engine::{Addresses, Engine, get};
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::golden::golden;
use sluicebox_tests::sink::{Behaviour, Sink};

const STAGE: &str = "filter/health";
const NOTHING: &str = "name == \"nothing has this name\"";
const BOUND: Duration = Duration::from_secs(30);

fn config(sink: &Sink, condition: &str) -> String {
    Config::new().processor(STAGE, &drop_spans(condition)).sink(sink.address, "").verbose().text()
}

fn workload() -> Arc<Workload> {
    Workload::new(Shape { requests: 1, items_per_request: 100, ..Shape::new(Signal::Traces) })
}

/// One request; true if what matches the rule was dropped.
async fn is_filtered(engine: &Engine, sink: &Sink, run: u16) -> bool {
    let workload = workload();
    let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
    let answer = connection.send(Signal::Traces, workload.request(run, 0), BOUND).await;
    assert_eq!(answer, Answer::Accepted { warning: None });
    let all = workload.items_per_request();
    let some = all - workload.matching(1);
    let end = Instant::now() + BOUND;
    let mut items = 0;
    while items != all && items != some {
        assert!(Instant::now() < end, "{items} of {all} arrived");
        tokio::time::sleep(Duration::from_millis(10)).await;
        items += sink.take_seen(Signal::Traces, run).items;
    }
    items == some
}

async fn post(engine: &Engine, path: &str, body: Value) -> (u16, Value) {
    engine.post(path, "application/json", body.to_string().into()).await.unwrap()
}

async fn json(engine: &Engine, path: &str) -> Value {
    serde_json::from_str(&get(engine.addresses.admin, path).await.unwrap()).unwrap()
}

/// Of a stage's records: generation, result, why.
async fn records(engine: &Engine) -> Vec<String> {
    let answer = json(engine, "/v1/generations?stage=filter%2Fhealth").await;
    let records = answer["stages"][0]["generations"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let shown =
        |record: &Value| format!("{} {} {}", record["generation"], text(&record["result"]), text(&record["why"]));
    records.iter().map(|record| shown(record).trim().to_owned()).collect()
}

fn history_file(directory: &Path, addresses: &Addresses) -> PathBuf {
    directory.join("state").join(format!("history-{}.jsonl", addresses.admin.port()))
}

fn write(engine: &Engine, file: &str, text: &str) -> String {
    let path = engine.directory().join(file);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Requests on three connections until it is dropped, each of which has to be accepted.
struct Load {
    stop: Arc<AtomicBool>,
    lanes: tokio::task::JoinSet<u64>,
}

impl Load {
    async fn start(engine: &Engine, run: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut lanes = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
            let (stop, body) = (Arc::clone(&stop), workload().request(run, 0));
            lanes.spawn(async move {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = connection.send(Signal::Traces, body.clone(), BOUND).await;
                    assert_eq!(answer, Answer::Accepted { warning: None });
                    sent += 1;
                }
                sent
            });
        }
        Self { stop, lanes }
    }

    async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.lanes.join_all().await.into_iter().sum()
    }
}

/// From its answer on, everything is judged by what was returned to; nothing is built for it, and nothing is refused meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_serves_from_its_answer_on() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, EARLY_RULE)).await.unwrap();
    let load = Load::start(&engine, 1).await;
    let mut took = Vec::new();
    for round in 0..10_u16 {
        engine.swap_config(STAGE, &drop_spans_json(NOTHING)).await.unwrap();
        assert!(!is_filtered(&engine, &sink, 10 + round).await);
        let started = Instant::now();
        let (status, answer) = post(&engine, "/v1/rollback", serde_json::json!({ "stage": STAGE })).await;
        took.push(started.elapsed());
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["drifted"], false);
        assert_eq!(answer["new"]["generation"], 2 * u64::from(round) + 3);
        assert_eq!(answer["rollback_to"], 2 * u64::from(round) + 1);
        assert!(is_filtered(&engine, &sink, 30 + round).await, "round {round}");
    }
    assert!(load.finish().await > 0);
    took.sort_unstable();
    println!("a rollback under load, from request to answer: {took:?}");
    let live = |m: &Metrics| m.sum("stage_generations_live", &[("stage", STAGE)]) == 1;
    let metrics = engine.until(BOUND, "one is live", live).await.unwrap();
    assert_eq!(metrics.sum("stage_generations_kept", &[("stage", STAGE)]), 2);
    assert_eq!(metrics.sum("stage_faults", &[]), 0);
}

/// Kept instances are charged to the budget, and go before a sender is told to retry.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_goes_before_data_is_refused() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let text = config(&sink, EARLY_RULE)
        .replace("processors:\n", "processors:\n  memory_limiter: { limit_mib: 16, spike_limit_mib: 1 }\n")
        .replace("processors: [", "processors: [memory_limiter, ");
    let engine = Engine::start_with(&text, &["--workers", "1"]).await.unwrap();
    let used = async || engine.metrics().await.unwrap().sum("memory_used_bytes", &[]);
    let kept = async || engine.metrics().await.unwrap().sum("stage_generations_kept", &[("stage", STAGE)]);
    let before = used().await;
    engine.swap_config(STAGE, &drop_spans_json(NOTHING)).await.unwrap();
    engine.swap_config(STAGE, &drop_spans_json(EARLY_RULE)).await.unwrap();
    assert_eq!(kept().await, 2);
    let with_kept = used().await;
    assert!(with_kept > before, "{before} to {with_kept}");
    // A body that fits only without them: the budget less what serves.
    let limit = engine.metrics().await.unwrap().sum("memory_limit_bytes", &[]);
    let body = bytes::Bytes::from(vec![0; usize::try_from(limit - before - (with_kept - before) / 4).unwrap()]);
    let (status, _) =
        sluicebox_tests::client::post(engine.addresses.http, "/v1/traces", "application/x-protobuf", body)
            .await
            .unwrap();
    assert_eq!(status, 400, "it was read, and is no protobuf");
    assert_eq!(kept().await, 0);
    let (status, answer) = post(&engine, "/v1/rollback", serde_json::json!({ "stage": STAGE })).await;
    assert_eq!((status, &answer["rollback_to"]), (200, &Value::from(2)), "built again: {answer}");
    assert!(!is_filtered(&engine, &sink, 1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_survives_a_kill_and_tells_no_secret() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let mut engine = Engine::start(&config(&sink, EARLY_RULE)).await.unwrap();
    let secret = "hunter2-correct-horse";
    engine.swap_config(STAGE, &drop_spans_json(&format!("name == \"{secret}\""))).await.unwrap();
    let (status, answer) = post(
        &engine,
        "/v1/swap?wait=true",
        serde_json::json!({ "stage": STAGE, "config": { "traces": { "span": [format!("{secret} ===")] } } }),
    )
    .await;
    assert_eq!((status, &answer["step"]), (422, &Value::from("configure")), "{answer}");
    let expected = ["1 replaced replaced by 2", "2 serving", "null refused at configure"];
    assert_eq!(records(&engine).await, expected);
    let shown = [
        get(engine.addresses.admin, "/v1/status").await.unwrap(),
        get(engine.addresses.admin, "/v1/generations").await.unwrap(),
        engine.command(&["generations"]).await.unwrap().stdout,
        engine.process.stderr(),
    ];
    engine.process.signal(UnixSignal::KILL);
    engine.process.wait(BOUND).unwrap();
    let file = history_file(engine.directory(), &engine.addresses);
    let text = fs::read_to_string(&file).unwrap();
    for text in shown.iter().chain([&text]) {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{text}");
    // Killed in the middle of a line.
    let again = Engine::start_in(&[], |directory, addresses| {
        fs::create_dir(directory.join("state"))?;
        fs::write(history_file(directory, addresses), format!("{text}{{\"time\": 17"))?;
        Ok(fs::write(directory.join("sluicebox.yaml"), addresses.fill(&config(&sink, EARLY_RULE)))?)
    });
    let again = again.await.unwrap();
    let expected = ["1 replaced replaced by 2", "2 ended the process ended", "null refused at configure", "1 serving"];
    assert_eq!(records(&again).await, expected);
    let done = again.command(&["rollback", STAGE]).await.unwrap();
    assert_eq!(done.code, Some(6), "numbers of another process are none of this one: {done:?}");
    assert!(done.stderr.contains("none is known"), "{}", done.stderr);
}

/// A history that cannot be written is a warning and a number, nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_cannot_be_written_stops_nothing() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start_in(&[], |directory, addresses| {
        // A folder stands in its place: a test may run as root, whom no mode stops.
        fs::create_dir_all(history_file(directory, addresses))?;
        Ok(fs::write(directory.join("sluicebox.yaml"), addresses.fill(&config(&sink, EARLY_RULE)))?)
    });
    let engine = engine.await.unwrap();
    engine.swap_config(STAGE, &drop_spans_json(NOTHING)).await.unwrap();
    assert!(!is_filtered(&engine, &sink, 1).await);
    let lost = |m: &Metrics| m.sum("history_lost_entries", &[]) >= 3;
    engine.until(BOUND, "the start, the stage and the swap are counted", lost).await.unwrap();
    assert_eq!(records(&engine).await.last().map(String::as_str), Some("2 serving"));
    let stderr = engine.process.stderr();
    assert_eq!(stderr.lines().filter(|line| line.contains("the history cannot be written")).count(), 1, "{stderr}");
}

/// Where the file says otherwise, what a restart returns to, and how to have the file's word count.
#[tokio::test(flavor = "multi_thread")]
async fn a_drifted_stage_is_told_and_kept_until_forced() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let mut engine = Engine::start(&config(&sink, EARLY_RULE)).await.unwrap();
    let line = 1 + fs::read_to_string(engine.config_file()).unwrap().lines().position(|l| l.contains(STAGE)).unwrap();
    let rules = write(&engine, "rules.json", &drop_spans_json(NOTHING));
    let done = engine.command(&["swap", STAGE, "--config", &rules]).await.unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    let place = format!("config at {}:{line}", engine.config_file().display());
    assert!(done.stdout.contains(&place) && done.stdout.contains("a restart returns to sha256:"), "{}", done.stdout);
    assert!(done.stdout.contains("undo: sluicebox rollback filter/health"), "{}", done.stdout);
    let drift = json(&engine, "/v1/status").await["stages"][0]["drift"].clone();
    assert_eq!(drift["places"][0]["line"], line, "{drift}");
    assert!(drift["who"].as_str().unwrap().starts_with("api (") && drift["since"].as_u64() > Some(1_700_000_000));
    assert_eq!(engine.metrics().await.unwrap().sum("stage_drifted", &[("stage", STAGE)]), 1);

    engine.rewrite(&config(&sink, "name == \"third\"")).unwrap();
    engine.process.signal(UnixSignal::HUP);
    let refused = |_: &Metrics| engine.process.stderr().contains("nothing was changed");
    engine.until(BOUND, "refused", refused).await.unwrap();
    let said = engine.process.stderr();
    let said = said.lines().find(|line| line.contains("nothing was changed")).unwrap();
    assert!(said.contains(STAGE) && said.contains("sluicebox reload --force"), "{said}");
    let done = engine.command(&["reload"]).await.unwrap();
    assert_eq!(done.code, Some(6), "{done:?}");
    assert!(!is_filtered(&engine, &sink, 1).await);

    engine.rewrite(&config(&sink, EARLY_RULE)).unwrap();
    let done = engine.command(&["reload"]).await.unwrap();
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "the file was read again: nothing differs\n"));
    assert!(!is_filtered(&engine, &sink, 2).await, "what it says is what it said");
    let done = engine.command(&["reload", "--force"]).await.unwrap();
    assert!(done.code == Some(0) && done.stdout.starts_with("filter/health: generation 2 "), "{done:?}");
    assert!(is_filtered(&engine, &sink, 3).await);
    assert_eq!(engine.metrics().await.unwrap().sum("stage_drifted", &[("stage", STAGE)]), 0);
    fs::write(engine.config_file(), "receivers: [").unwrap();
    let done = engine.command(&["reload"]).await.unwrap();
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(done.stderr.contains("E0104"), "{}", done.stderr);
    let changes = json(&engine, "/v1/generations").await["changes"].clone();
    let results: Vec<_> =
        changes.as_array().unwrap().iter().map(|c| c["result"].as_str().unwrap_or_default()).collect();
    assert_eq!(results[1..], ["refused at plan"; 2], "{changes}");
}

/// Written by the engine, the file says what serves: a restart returns to it, and watching it is no reason to do anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_serves_after_a_restart() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let component = fs::read(guest("filter").unwrap()).unwrap();
    let text = Config::new()
        .processor(STAGE, &drop_spans(EARLY_RULE))
        .processor("wasm/mine", &format!("component: ./old.wasm, config: {{ {} }}", drop_spans(NOTHING)))
        .sink(sink.address, "")
        .verbose()
        .text();
    let text = format!("# ours\n{text}# the end");
    let engine = Engine::start_in(&["--watch"], |directory, addresses| {
        fs::write(directory.join("old.wasm"), &component)?;
        Ok(fs::write(directory.join("sluicebox.yaml"), addresses.fill(&text))?)
    });
    let mut engine = engine.await.unwrap();
    let before = fs::read_to_string(engine.config_file()).unwrap();
    let rules =
        write(&engine, "rules.yaml", &format!("# quiet\n{}\n", drop_spans(NOTHING).replace(", traces", "\ntraces")));
    let done = engine.command(&["swap", STAGE, "--config", &rules, "--write"]).await.unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.stdout.contains("the file says otherwise"), "{}", done.stdout);
    // The same code under another digest: a custom section with the name "n" and no content.
    fs::write(engine.directory().join("new.wasm"), [component.as_slice(), &[0, 2, 1, b'n']].concat()).unwrap();
    let done = engine.command(&["swap", "wasm/mine", "new.wasm", "--write"]).await.unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!is_filtered(&engine, &sink, 1).await);

    let after = fs::read_to_string(engine.config_file()).unwrap();
    let others = |text: &str| -> Vec<String> {
        let is_other = |line: &&str| {
            !line.starts_with("  filter/health:") && !line.starts_with("  wasm/mine:") && !line.starts_with("    ")
        };
        text.lines().filter(is_other).map(str::to_owned).collect()
    };
    assert_eq!(others(&before), others(&after), "{after}");
    assert!(after.contains("  filter/health:\n    # quiet\n") && after.contains("component: ./new.wasm"), "{after}");
    // Longer than the time between two readings of the watcher.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let generation = |m: &Metrics, stage: &str| m.sum("stage_generation", &[("stage", stage)]);
    let metrics = engine.metrics().await.unwrap();
    assert_eq!((generation(&metrics, STAGE), generation(&metrics, "wasm/mine")), (2, 2));
    assert_eq!(metrics.sum("stage_drifted", &[]), 0);
    let digest = json(&engine, "/v1/status").await["stages"][1]["serving"]["digest"].clone();
    engine.process.stop().unwrap();

    let folder = engine.directory().to_path_buf();
    let again = Engine::start_in(&[], |directory, addresses| {
        fs::copy(folder.join("new.wasm"), directory.join("new.wasm"))?;
        let text = after.split_once('\n').map(|(_, rest)| rest).unwrap_or_default();
        let from = [engine.addresses.grpc, engine.addresses.http, engine.addresses.metrics];
        let to = [addresses.grpc, addresses.http, addresses.metrics];
        let text = from
            .iter()
            .zip(to)
            .fold(text.to_owned(), |text, (from, to)| text.replace(&from.to_string(), &to.to_string()));
        Ok(fs::write(directory.join("sluicebox.yaml"), addresses.fill(&text))?)
    });
    let again = again.await.unwrap();
    assert!(!is_filtered(&again, &sink, 2).await);
    assert_eq!(json(&again, "/v1/status").await["stages"][1]["serving"]["digest"], digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_is_not_swapped() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let text = config(&sink, EARLY_RULE).replace("filter/health: {", "filter/health: &rules {");
    let engine = Engine::start(&text).await.unwrap();
    let before = fs::read_to_string(engine.config_file()).unwrap();
    let rules = write(&engine, "rules.json", &drop_spans_json(NOTHING));
    let done = engine.command(&["swap", STAGE, "--config", &rules, "--write"]).await.unwrap();
    assert_eq!(done.code, Some(6), "{done:?}");
    assert!(
        done.stderr.contains("has an anchor or a tag") && done.stderr.contains("sluicebox.yaml:"),
        "{}",
        done.stderr
    );
    let done = engine.command(&["swap", STAGE, &guest("filter").unwrap(), "--write"]).await.unwrap();
    assert_eq!(done.code, Some(6), "{done:?}");
    assert_eq!(fs::read_to_string(engine.config_file()).unwrap(), before);
    assert!(is_filtered(&engine, &sink, 1).await, "what served serves");
    assert_eq!(engine.metrics().await.unwrap().sum("stage_generation", &[("stage", STAGE)]), 1);
}

/// One after the other: who comes second waits, and replaces what the first one brought.
#[tokio::test(flavor = "multi_thread")]
async fn two_changes_at_once_wait_for_each_other() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, EARLY_RULE)).await.unwrap();
    engine.swap_config(STAGE, &drop_spans_json("name == \"other\"")).await.unwrap();
    let swap =
        async || engine.swap_config(STAGE, &drop_spans_json(NOTHING)).await.unwrap()["new"]["generation"].as_u64();
    // The file's word counts where a stage was swapped; where it was not, it says nothing new.
    let reload = async || post(&engine, "/v1/reload?wait=true", serde_json::json!({ "force": true })).await;
    let (swapped, (status, answer)) = tokio::join!(swap(), reload());
    assert_eq!(status, 200, "{answer}");
    let reloaded = answer["swapped"][0]["new"]["generation"].as_u64();
    let mut numbers = [swapped, reloaded];
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(3), Some(4)]);
    let expected = ["1 replaced replaced by 2", "2 replaced replaced by 3", "3 replaced replaced by 4", "4 serving"];
    assert_eq!(records(&engine).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_see_of_generations() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, EARLY_RULE)).await.unwrap();
    engine.swap_config(STAGE, &drop_spans_json(NOTHING)).await.unwrap();
    let done = engine.command(&["rollback", STAGE]).await.unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.starts_with("filter/health: generation 2 sha256:") && done.stdout.ends_with(" (1 again)\n"),
        "{done:?}"
    );
    let done = engine.command(&["generations"]).await.unwrap();
    let answer = json(&engine, "/v1/generations").await;
    let mut text = done.stdout.clone();
    let mut hide = |value: &Value, as_what: &str, chars: usize| {
        let value = value.as_str().unwrap_or_default();
        text = text.replace(value.get(..chars).unwrap_or(value), as_what);
    };
    for record in answer["stages"][0]["generations"].as_array().unwrap() {
        hide(&record["digest"], "DIGEST......", 12);
        hide(&record["config"], "CONFIG..........", 16);
        if record["who"] != "start" && record["who"] != "api" {
            hide(&record["who"], "api (USER)", 64);
        }
    }
    // "Sat, 21 Nov 2026 20:06:33 GMT" in every line of a record.
    let lines = text.lines().map(|line| match line.find(" GMT") {
        Some(end) => format!("{}DATE{}", &line[..end - 25], &line[end + 4..]),
        None => line.to_owned(),
    });
    let lines: Vec<_> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    golden("generations", &(lines.join("\n") + "\n"));
    let done = engine.command(&["generations", STAGE, "--output", "json"]).await.unwrap();
    let printed: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(printed["stages"], answer["stages"]);
    let done = engine.command(&["generations", "filter/none"]).await.unwrap();
    assert_eq!(done.code, Some(1), "{done:?}");
    let done = engine.command(&["rollback", STAGE, "--to", "9"]).await.unwrap();
    assert_eq!(done.code, Some(6), "{done:?}");
    assert!(done.stderr.contains("there are 2"), "{}", done.stderr);
}
