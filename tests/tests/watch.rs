//! `--watch`: files are followed however they are replaced, and never taken half-written.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{Answer, Protocol, send_once};
use sluicebox_tests::command::guest;
use sluicebox_tests::config::{Config, drop_spans, drop_spans_json};
use sluicebox_tests::engine::{Addresses, Engine, get};
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};

const STAGE: &str = "filter/health";
const NOTHING: &str = "name == \"nothing has this name\"";
const BOUND: Duration = Duration::from_secs(30);

fn config(sink: &Sink, condition: &str) -> String {
    Config::new().processor(STAGE, &drop_spans(condition)).sink(sink.address, "").verbose().text()
}

async fn until_generation(engine: &Engine, stage: &str, generation: u64) {
    let serves = |m: &Metrics| m.sum("stage_generation", &[("stage", stage)]) == generation;
    engine.until(BOUND, &format!("generation {generation}"), serves).await.unwrap();
}

/// One request; true if what matches the rule was dropped.
async fn is_filtered(engine: &Engine, sink: &Sink, run: u16) -> bool {
    let workload = Workload::new(Shape { requests: 1, items_per_request: 100, ..Shape::new(Signal::Traces) });
    let answer = send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, workload.request(run, 0)).await;
    assert_eq!(answer.unwrap(), Answer::Accepted { warning: None });
    engine.settled_account(BOUND).await.unwrap();
    let items = sink.take_seen(Signal::Traces, run).items;
    assert!(items == 100 || items == 100 - workload.matching(1), "{items}");
    items != 100
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_and_a_rewritten_file_are_followed() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start_with(&config(&sink, EARLY_RULE), &["--watch"]).await.unwrap();
    assert!(is_filtered(&engine, &sink, 1).await);
    engine.rewrite(&config(&sink, NOTHING)).unwrap();
    until_generation(&engine, STAGE, 2).await;
    assert!(!is_filtered(&engine, &sink, 2).await);
    std::fs::write(engine.config_file(), engine.addresses.fill(&config(&sink, EARLY_RULE))).unwrap();
    until_generation(&engine, STAGE, 3).await;
    assert!(is_filtered(&engine, &sink, 3).await);
}

/// Kubernetes mounts a ConfigMap as links through `..data`, which it replaces by a rename.
#[tokio::test(flavor = "multi_thread")]
async fn a_configmap_is_followed_twice() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let version = |directory: &Path, addresses: &Addresses, name: &str, condition: &str| -> anyhow::Result<()> {
        std::fs::create_dir(directory.join(name))?;
        std::fs::write(directory.join(name).join("sluicebox.yaml"), addresses.fill(&config(&sink, condition)))?;
        symlink(name, directory.join("..data_tmp"))?;
        Ok(std::fs::rename(directory.join("..data_tmp"), directory.join("..data"))?)
    };
    let engine = Engine::start_in(&["--watch"], |directory, addresses| {
        version(directory, addresses, "..v1", EARLY_RULE)?;
        Ok(symlink("..data/sluicebox.yaml", directory.join("sluicebox.yaml"))?)
    });
    let engine = engine.await.unwrap();
    assert!(is_filtered(&engine, &sink, 1).await);
    for (number, condition) in [(2, NOTHING), (3, EARLY_RULE)] {
        version(engine.directory(), &engine.addresses, &format!("..v{number}"), condition).unwrap();
        std::fs::remove_dir_all(engine.directory().join(format!("..v{}", number - 1))).unwrap();
        until_generation(&engine, STAGE, number).await;
        assert_eq!(is_filtered(&engine, &sink, number as u16).await, condition == EARLY_RULE);
    }
}

/// A writer that pauses in the middle: what is there then is either waited for or refused, and the old rules serve.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_file_is_not_taken() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start_with(&config(&sink, EARLY_RULE), &["--watch"]).await.unwrap();
    let text = engine.addresses.fill(&config(&sink, NOTHING));
    let (first, second) = text.split_at(text.find("exporters:").unwrap());
    for (pause, run) in [(Duration::from_millis(100), 1), (Duration::from_secs(3), 2)] {
        let before = engine.metrics().await.unwrap().sum("stage_generation", &[("stage", STAGE)]);
        let mut file = std::fs::File::create(engine.config_file()).unwrap();
        file.write_all(first.as_bytes()).unwrap();
        file.sync_all().unwrap();
        tokio::time::sleep(pause).await;
        assert!(is_filtered(&engine, &sink, run).await, "the old rules serve while half of the file is there");
        file.write_all(second.as_bytes()).unwrap();
        drop(file);
        until_generation(&engine, STAGE, before + 1).await;
        assert!(!is_filtered(&engine, &sink, run + 10).await);
        engine.rewrite(&config(&sink, EARLY_RULE)).unwrap();
        until_generation(&engine, STAGE, before + 2).await;
    }
    let stderr = engine.process.stderr();
    assert_eq!(stderr.lines().filter(|line| line.contains("is not valid, nothing was changed")).count(), 1, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_file_changes_nothing_until_it_is_back() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start_with(&config(&sink, EARLY_RULE), &["--watch"]).await.unwrap();
    std::fs::remove_file(engine.config_file()).unwrap();
    // Longer than the time between two readings.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(is_filtered(&engine, &sink, 1).await);
    engine.rewrite(&config(&sink, NOTHING)).unwrap();
    until_generation(&engine, STAGE, 2).await;
    assert!(!is_filtered(&engine, &sink, 2).await);
}

/// A rebuilt component takes effect as a changed rule does; touching it does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_component_is_followed() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let component = std::fs::read(guest("filter").unwrap()).unwrap();
    let text = Config::new()
        .processor("wasm/mine", &format!("component: ./mine.wasm, config: {{ {} }}", drop_spans(EARLY_RULE)))
        .sink(sink.address, "")
        .verbose()
        .text();
    let engine = Engine::start_in(&["--watch"], |directory, addresses| {
        std::fs::write(directory.join("mine.wasm"), &component)?;
        Ok(std::fs::write(directory.join("sluicebox.yaml"), addresses.fill(&text))?)
    });
    let engine = engine.await.unwrap();
    let file = engine.directory().join("mine.wasm");
    std::fs::write(&file, &component).unwrap();
    // The same code under another digest: a custom section (WebAssembly, "Custom Section") with the name "n" and no content.
    let rebuilt = [component.as_slice(), &[0, 2, 1, b'n']].concat();
    std::fs::write(&file, &rebuilt[..rebuilt.len() / 3]).unwrap();
    std::fs::write(&file, &rebuilt).unwrap();
    until_generation(&engine, "wasm/mine", 2).await;
    assert!(is_filtered(&engine, &sink, 1).await);
    let metrics = engine.metrics().await.unwrap();
    assert_eq!(metrics.sum("stage_swaps", &[("stage", "wasm/mine")]), 1);
}

/// wash#3180: to read the watched files is no reason to read them again.
#[tokio::test(flavor = "multi_thread")]
async fn watcher_does_not_loop() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start_with(&config(&sink, EARLY_RULE), &["--watch"]).await.unwrap();
    std::fs::write(engine.config_file(), engine.addresses.fill(&config(&sink, NOTHING))).unwrap();
    until_generation(&engine, STAGE, 2).await;
    for _ in 0..50 {
        std::fs::write(engine.config_file(), engine.addresses.fill(&config(&sink, NOTHING))).unwrap();
    }
    let before = engine.process.cpu_time().unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let spent = engine.process.cpu_time().unwrap() - before;
    assert!(spent < Duration::from_secs(1), "{spent:?} of CPU in four idle seconds");
    assert_eq!(engine.metrics().await.unwrap().sum("stage_generation", &[("stage", STAGE)]), 2);
}

/// A file that is loaded at a signal and then set back is a change again.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_set_back_after_a_signal_is_followed() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let mut engine = Engine::start_with(&config(&sink, EARLY_RULE), &["--watch"]).await.unwrap();
    engine.rewrite(&config(&sink, NOTHING)).unwrap();
    engine.process.signal(rustix::process::Signal::HUP);
    until_generation(&engine, STAGE, 2).await;
    engine.rewrite(&config(&sink, EARLY_RULE)).unwrap();
    until_generation(&engine, STAGE, 3).await;
    assert!(is_filtered(&engine, &sink, 1).await);
}

const RULES: &str = "rules.yaml";

/// Two stages, of which the first has its rules in a file of their own.
fn with_own_file(sink: &Sink, file: &str) -> String {
    let text =
        Config::new().processor(STAGE, "RULES").processor("filter/other", &drop_spans(NOTHING)).sink(sink.address, "");
    text.verbose().text().replace("{ RULES }", &format!("${{file:{file}}}"))
}

async fn engine_with_own_file(sink: &Sink, arguments: &[&str]) -> Engine {
    let started = Engine::start_in(arguments, |directory, addresses| {
        std::fs::write(directory.join(RULES), drop_spans_json(EARLY_RULE))?;
        Ok(std::fs::write(directory.join("sluicebox.yaml"), addresses.fill(&with_own_file(sink, RULES)))?)
    });
    started.await.unwrap()
}

fn write(engine: &Engine, file: &str, text: &str) {
    std::fs::write(engine.directory().join(file), text).unwrap();
}

async fn until_said(engine: &Engine, parts: &[&str]) {
    let said = |_: &Metrics| {
        let stderr = engine.process.stderr();
        parts.iter().all(|part| stderr.contains(part))
    };
    engine.until(BOUND, &format!("it says {parts:?}"), said).await.unwrap();
}

/// A change of the rules alone is a swap of their stage alone; what is wrong with them is told with their file's name.
#[tokio::test(flavor = "multi_thread")]
async fn rules_in_a_file_of_their_own_are_followed() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = engine_with_own_file(&sink, &["--watch"]).await;
    assert!(is_filtered(&engine, &sink, 1).await);
    write(&engine, RULES, &drop_spans_json(NOTHING));
    until_generation(&engine, STAGE, 2).await;
    assert!(!is_filtered(&engine, &sink, 2).await);

    let file = engine.directory().join(RULES).display().to_string();
    write(&engine, RULES, "traces:\n  span: [\n");
    until_said(&engine, &["error[E0104]", &format!("--> {file}:")]).await;
    write(&engine, RULES, &drop_spans_json("name === 1"));
    until_said(&engine, &["failed at step configure", &format!("its configuration is in {file}")]).await;
    assert!(!is_filtered(&engine, &sink, 3).await, "what served before still serves");
    write(&engine, RULES, &drop_spans_json(EARLY_RULE));
    until_generation(&engine, STAGE, 3).await;
    assert!(is_filtered(&engine, &sink, 4).await);
    let metrics = engine.metrics().await.unwrap();
    assert_eq!(metrics.sum("stage_generation", &[("stage", "filter/other")]), 1);
    assert_eq!(metrics.sum("stage_swaps", &[("stage", "filter/other")]), 0);
}

/// Which files are followed changes with what the files say, valid or not.
#[tokio::test(flavor = "multi_thread")]
async fn included_files_come_and_go() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = engine_with_own_file(&sink, &["--watch"]).await;
    // Not there yet: the old rules serve until it is.
    engine.rewrite(&with_own_file(&sink, "later.yaml")).unwrap();
    until_said(&engine, &["error[E0101]", "later.yaml\" cannot be read"]).await;
    write(&engine, "later.yaml", &drop_spans_json(NOTHING));
    until_generation(&engine, STAGE, 2).await;
    write(&engine, "later.yaml", &drop_spans_json(EARLY_RULE));
    until_generation(&engine, STAGE, 3).await;
    // No part of the configuration any more.
    write(&engine, RULES, "[");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let stderr = engine.process.stderr();
    assert_eq!(stderr.lines().filter(|line| line.contains("is not valid, nothing was changed")).count(), 1, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reads_included_files_again() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let mut engine = engine_with_own_file(&sink, &[]).await;
    write(&engine, RULES, &drop_spans_json(NOTHING));
    engine.process.signal(rustix::process::Signal::HUP);
    until_generation(&engine, STAGE, 2).await;
    assert!(!is_filtered(&engine, &sink, 1).await);
}

/// A key that is renewed is a new generation, and appears nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_keys_is_followed() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let component = guest("filter").unwrap();
    let keys = "keys: { pii: { file: pii.key } }";
    let stage = format!("component: {component:?}, {keys}, config: {{ {} }}", drop_spans(EARLY_RULE));
    let text = Config::new().processor("wasm/mine", &stage).sink(sink.address, "").verbose().text();
    let engine = Engine::start_in(&["--watch"], |directory, addresses| {
        std::fs::write(directory.join("pii.key"), "correct-horse-battery\n")?;
        Ok(std::fs::write(directory.join("sluicebox.yaml"), addresses.fill(&text))?)
    });
    let engine = engine.await.unwrap();
    write(&engine, "pii.key", "staple-purple-monkey\n");
    until_generation(&engine, "wasm/mine", 2).await;
    write(&engine, "pii.key", "dishwasher\n");
    until_said(&engine, &["error[E0311]", "is shorter than 16 bytes"]).await;
    let status = get(engine.addresses.admin, "/v1/status").await.unwrap();
    let metrics = get(engine.addresses.metrics, "/metrics").await.unwrap();
    let file = engine.config_file().display().to_string();
    let validated = engine.command(&["validate", "--config", &file, "--output", "json"]).await.unwrap();
    assert!(validated.stdout.contains("E0311"), "{validated:?}");
    let all = [status, metrics, engine.process.stderr(), engine.process.stdout(), validated.stdout, validated.stderr];
    for (text, key) in
        all.iter().flat_map(|text| ["correct-horse", "staple-purple", "dishwasher"].map(|key| (text, key)))
    {
        assert!(!text.contains(key), "{key} in {text}");
    }
}
