//! Candidates that must not serve: each fails at its step, what served before still serves, the next good one works at once.

use std::time::Duration;

use rustix::process::Signal as UnixSignal;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Protocol, send_once};
use sluicebox_tests::command::guest;
use sluicebox_tests::config::{Config, drop_spans, drop_spans_json};
use sluicebox_tests::engine::{Engine, workspace};
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::hostile::bombs::Bomb;
use sluicebox_tests::hostile::made;
use sluicebox_tests::sink::{Behaviour, Sink};

const STAGE: &str = "filter/health";
const BOUND: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

fn config(sink: &Sink, condition: &str) -> Config {
    Config::new().processor(STAGE, &drop_spans(condition)).sink(sink.address, "").verbose()
}

/// One request; true if what matches the rule was dropped, false if everything arrived.
async fn is_filtered(engine: &Engine, sink: &Sink, run: u16) -> bool {
    let workload = Workload::new(Shape { requests: 1, items_per_request: 100, ..Shape::new(Signal::Traces) });
    let answer = send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, workload.request(run, 0)).await;
    assert_eq!(answer.unwrap(), Answer::Accepted { warning: None });
    engine.settled_account(BOUND).await.unwrap();
    let seen = sink.take_seen(Signal::Traces, run);
    assert!(workload.matching(1) > 0);
    assert_eq!(seen.duplicates, 0);
    match seen.items {
        100 => false,
        left => {
            assert_eq!(left, 100 - workload.matching(1));
            true
        }
    }
}

/// fluent-bit PR#10547, vector#24125: a failure leaves nothing behind that stops the next swap.
#[tokio::test(flavor = "multi_thread")]
async fn failed_swap_then_good_swap() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, EARLY_RULE).text()).await.unwrap();
    let serving = engine.command(&["inspect", "filter"]).await.unwrap().stdout;
    let digest = serving.split("sha256:").nth(1).and_then(|rest| rest.get(..12)).unwrap().to_owned();
    let file = |name: &str, bytes: &[u8]| {
        let path = engine.directory().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let not_wasm = file("not.wasm", b"this is a text");
    let empty = file("empty.wasm", b"");
    let core = workspace().join("target/guests/core/filter.wasm").display().to_string();
    // The preamble of a component (Component Model, "Binary Format") and nothing else: it exports nothing.
    let other_world = file("other.wasm", b"\0asm\x0d\0\x01\0");
    let cut = std::fs::read(guest("filter").unwrap()).unwrap();
    let cut = file("cut.wasm", &cut[..cut.len() / 2]);
    let bad_rule = file("bad.yaml", drop_spans_json("attributes[\"x\"] === 1").as_bytes());
    let spins = file("spins.wasm", &made::Made::component("configure_recurse").unwrap());
    let traps = file("traps.wasm", &made::Made::component("process_spin").unwrap());
    let misbehaving = guest("misbehaving").unwrap();
    let importing = |number: usize, name: &str| file(&format!("import{number}.wasm"), &made::importing(name).unwrap());
    let wasi = importing(1, "wasi:cli/environment@0.2.6");
    let unknown = importing(2, "sluicebox:telemetry/sockets@0.1.0");
    let foreign = importing(3, "acme:tools/shell@1.0.0");
    let newer = importing(4, "sluicebox:telemetry/fields@0.9.0");
    let not_for_it = importing(5, "sluicebox:telemetry/traces@0.1.0");
    // What a component within imports is met by the one around it, or by nobody.
    let nested = made::outside_of("(component (import \"wasi:cli/environment@0.2.6\" (instance)))").unwrap();
    let nested = file("nested.wasm", &nested);
    let bomb = file("bomb.wasm", &Bomb::HugeFunction.component());
    let starts = file("starts.wasm", &made::Made::component("start_trap").unwrap());

    let candidates: [(&str, &[&str]); 17] = [
        ("verify", &[&not_wasm]),
        ("verify", &[&empty]),
        ("verify", &[&core]),
        ("verify", &[&other_world]),
        ("verify", &[&cut]),
        ("verify", &[&wasi]),
        ("verify", &[&unknown]),
        ("verify", &[&foreign]),
        ("verify", &[&newer]),
        ("verify", &[&not_for_it]),
        ("compile", &[&bomb]),
        ("link", &[&nested]),
        ("configure", &[&starts]),
        ("configure", &["--config", &bad_rule]),
        ("configure", &[&spins]),
        ("probe", &[&traps]),
        // It keeps state, which this stage was not granted.
        ("link", &[&misbehaving]),
    ];
    for (run, (step, arguments)) in (1..).zip(candidates) {
        let done = engine.command(&[&["swap", STAGE], arguments].concat()).await.unwrap();
        assert_eq!(done.code, Some(6), "{arguments:?}: {done:?}");
        assert_eq!(done.stdout, "");
        for part in [format!("step {step}"), "generation 1 is still serving".to_owned(), STAGE.to_owned()] {
            assert!(done.stderr.contains(&part), "{arguments:?} should say {part:?}: {}", done.stderr);
        }
        let metrics = engine.metrics().await.unwrap();
        assert_eq!(metrics.sum("stage_generation", &[("stage", STAGE)]), 1);
        assert_eq!(metrics.sum("stage_generations_live", &[("stage", STAGE)]), 1);
        let status = sluicebox_tests::engine::get(engine.addresses.admin, "/v1/status").await.unwrap();
        assert!(status.contains(&digest), "{status}");
        assert!(is_filtered(&engine, &sink, run).await, "{arguments:?}: the old rules judge");
    }
    let metrics = engine.metrics().await.unwrap();
    let failed = |step| metrics.sum("stage_swaps", &[("stage", STAGE), ("result", step)]);
    let failed = ["verify", "compile", "link", "configure", "probe", "committed"].map(failed);
    assert_eq!(failed, [10, 1, 2, 3, 1, 0]);

    let good = file("good.yaml", drop_spans_json("name == \"nothing\"").as_bytes());
    let done = engine.command(&["swap", STAGE, "--config", &good]).await.unwrap();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!is_filtered(&engine, &sink, 100).await, "the new rules judge");
}

/// What is made to cost as much as can be to compile costs the engine nothing but the bytes that it was sent, and its swap.
#[tokio::test(flavor = "multi_thread")]
async fn compile_bombs_are_refused_and_cost_the_engine_nothing() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, EARLY_RULE).text()).await.unwrap();
    let (used, resident) =
        (engine.metrics().await.unwrap().sum("memory_used_bytes", &[]), engine.process.rss_bytes().unwrap());
    for (run, bomb) in (1..).zip(Bomb::QUICK) {
        let (status, answer) =
            engine.post("/v1/components", "application/wasm", bomb.component().into()).await.unwrap();
        assert_eq!(status, 200, "{bomb:?}: {answer}");
        let body = serde_json::json!({ "stage": STAGE, "digest": answer["digest"] }).to_string();
        let (status, answer) = engine.post("/v1/swap?wait=true", "application/json", body.into()).await.unwrap();
        let step = answer["step"].as_str().unwrap_or_default();
        assert!(status == 422 && ["verify", "compile", "link"].contains(&step), "{bomb:?}: {status}: {answer}");
        assert!(is_filtered(&engine, &sink, run).await, "{bomb:?}: the old rules judge");
    }
    let grown = engine.process.rss_bytes().unwrap().saturating_sub(resident);
    let uploads: usize = Bomb::QUICK.map(|bomb| bomb.component().len()).iter().sum();
    assert!(grown < uploads as u64 + 32 * MIB, "{} MiB more are resident", grown / MIB);
    let used_now = engine.metrics().await.unwrap().sum("memory_used_bytes", &[]);
    assert!(used_now <= used + uploads as u64, "{used} to {used_now} bytes charged");

    let good = serde_json::json!({ "stage": STAGE, "config": { "traces": { "span": ["name == \"nothing\""] } } });
    let (status, answer) =
        engine.post("/v1/swap?wait=true", "application/json", good.to_string().into()).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    assert!(!is_filtered(&engine, &sink, 100).await, "the next good one works at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_or_component_that_is_not_there_is_refused() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, EARLY_RULE).text()).await.unwrap();
    let rules = engine.directory().join("rules.json");
    std::fs::write(&rules, drop_spans_json(EARLY_RULE)).unwrap();
    let done = engine.command(&["swap", "filter/helth", "--config", rules.to_str().unwrap()]).await.unwrap();
    assert_eq!(done.code, Some(6), "{done:?}");
    assert!(done.stderr.contains("filter/helth") && done.stderr.contains(STAGE), "{}", done.stderr);

    let body = format!("{{ \"stage\": \"{STAGE}\", \"digest\": \"{}\" }}", "0".repeat(64));
    let (status, answer) = engine.post("/v1/swap?wait=true", "application/json", body.into()).await.unwrap();
    assert_eq!(status, 404, "{answer}");
    assert!(is_filtered(&engine, &sink, 1).await);
}

/// A mutation needs the token, and no browser can be led to make one.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_changed() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, EARLY_RULE).text()).await.unwrap();
    let state = engine.directory().join("state");
    let token = sluicebox::admin::token::file(&state, engine.addresses.admin.port());
    let right = std::fs::read_to_string(&token).unwrap();
    let body = format!("{{ \"stage\": \"{STAGE}\", \"config\": {} }}", drop_spans_json("name == \"x\""));
    std::fs::write(&token, "0".repeat(64)).unwrap();
    let (status, _) = engine.post("/v1/swap?wait=true", "application/json", body.clone().into()).await.unwrap();
    assert_eq!(status, 401);
    assert!(is_filtered(&engine, &sink, 1).await);
    std::fs::write(&token, right).unwrap();
    let (status, _) = engine.post("/v1/swap?wait=true", "application/json", body.into()).await.unwrap();
    assert_eq!(status, 200);
    assert!(!is_filtered(&engine, &sink, 2).await);
}

/// A file of which a part takes a restart is refused whole: half a file is what nobody wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_takes_a_restart_is_refused_whole() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let mut engine = Engine::start(&config(&sink, EARLY_RULE).text()).await.unwrap();
    let text = config(&sink, "name == \"nothing\"").text();
    engine.rewrite(&text.replace("$METRICS", "127.0.0.1:1")).unwrap();
    engine.process.signal(UnixSignal::HUP);
    let end = tokio::time::Instant::now() + BOUND;
    while !engine.process.stderr().contains("nothing was changed") {
        assert!(tokio::time::Instant::now() < end, "{}", engine.process.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stderr = engine.process.stderr();
    let line = stderr.lines().find(|line| line.contains("nothing was changed")).unwrap_or_default();
    assert!(line.contains("also changes \"service.telemetry.metrics\", line ") && line.contains("restart"), "{line}");
    assert!(is_filtered(&engine, &sink, 1).await, "the old rules judge");
    assert_eq!(engine.metrics().await.unwrap().sum("stage_generation", &[("stage", STAGE)]), 1);

    engine.rewrite(&config(&sink, "name == \"nothing\"").text()).unwrap();
    engine.process.signal(UnixSignal::HUP);
    engine.until(BOUND, "generation 2", |m| m.sum("stage_generation", &[("stage", STAGE)]) == 2).await.unwrap();
    assert!(!is_filtered(&engine, &sink, 2).await);
}
