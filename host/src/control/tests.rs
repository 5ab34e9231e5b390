//! What is built, what serves and what is told, with generations that are made of nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::config::Place;
use crate::config::model::{Admin, DataAccess, Grants, Lines, MemoryLimit, OnFault, StageLimits, StageRole};
use crate::config::shown::Shown;
use crate::pipeline::stage::{Fault, FaultKind, Instance};
use crate::pipeline::stages::Stages;

mod past;

/// Only its identity.
#[derive(Debug)]
struct Nothing {
    stage: String,
    number: u64,
    digest: String,
}

impl Generation for Nothing {
    fn stage(&self) -> &str {
        &self.stage
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn on_fault(&self) -> OnFault {
        OnFault::Reject
    }

    fn rules(&self) -> &[String] {
        &[]
    }

    fn instance(&self) -> Result<Box<dyn Instance>, Fault> {
        Err(Fault { kind: FaultKind::Trap, message: "made of nothing".to_owned() })
    }

    fn renumbered(&self, number: u64) -> Option<Arc<dyn Generation>> {
        Some(Arc::new(Self { stage: self.stage.clone(), number, digest: self.digest.clone() }))
    }
}

/// Builds what it is given, unless the component's bytes are "bad".
fn build(stage: &Stage, number: u64) -> Result<Arc<dyn Generation>, wasm::BuildError> {
    let bytes = match &stage.component {
        Component::File { path, .. } => std::fs::read(path).unwrap_or_default(),
        Component::Uploaded(wasm) => wasm.to_vec(),
        Component::Bundled(name) => name.clone().into_bytes(),
    };
    if bytes == b"bad" {
        return Err(wasm::BuildError::Abandoned("it is bad".to_owned()));
    }
    Ok(Arc::new(Nothing { stage: stage.name.clone(), number, digest: wasm::digest(&bytes) }))
}

/// What is around the stages: nothing, and some files are refused.
struct Around(Arc<Current>);

struct Publishing(Arc<Current>, Arc<Stages>);

/// A file with this budget cannot be had.
const TOO_MUCH: MemoryLimit = MemoryLimit::Bytes(7);

impl Topology for Around {
    fn prepare(self: Arc<Self>, next: &Config, stages: &Arc<Stages>) -> Result<Box<dyn Prepared>, Unprepared> {
        if next.memory == TOO_MUCH {
            return Err(Unprepared { step: "bind", source: "the port is taken".into() });
        }
        Ok(Box::new(Publishing(Arc::clone(&self.0), Arc::clone(stages))))
    }
}

impl Prepared for Publishing {
    fn commit(self: Box<Self>) {
        self.0.publish(&self.1);
    }
}

/// A file with the stages `a` and `b`, of one component and these configs.
fn config(component: &Path, configs: [&str; 2]) -> Config {
    let stage = |(name, config): (&str, &str)| Stage {
        name: name.to_owned(),
        role: StageRole::Processor,
        component: Component::File { path: component.to_owned(), sha256: None },
        config: config.to_owned(),
        keys: Vec::new(),
        grants: Grants::NONE,
        tables: Vec::new(),
        limits: StageLimits {
            memory_bytes_max: Some(0),
            deadline: Duration::ZERO,
            output_bytes_max: 0,
            log_lines_per_second: 0,
        },
        on_fault: None,
        place: Place::default(),
        config_place: Place::default(),
        grants_place: None,
    };
    Config {
        receivers: Vec::new(),
        stages: ["a", "b"].into_iter().zip(configs).map(stage).collect(),
        exporters: Vec::new(),
        pipelines: Vec::new(),
        memory: MemoryLimit::Auto,
        metrics_address: None,
        log_level: tracing::Level::INFO,
        admin: Admin { address: SocketAddr::from(([127, 0, 0, 1], 0)), tls: None, data_access: DataAccess::Off },
        health_checks: Vec::new(),
        dead_letter: None,
        lines: Lines::default(),
        files: vec!["config.yaml".to_owned()],
        shown: Shown::default(),
    }
}

fn control_with(build: Arc<Build>, config: Config) -> Arc<Control> {
    let first = config.stages.iter().map(|stage| build(stage, 1).expect("builds")).collect();
    let metrics = Arc::new(Metrics::new());
    let current = Current::new(Stages::new(first, &metrics));
    let around = Arc::new(Around(Arc::clone(&current)));
    Control::new(build, config, current, around, metrics, History::in_memory())
}

fn control(config: Config) -> Arc<Control> {
    control_with(Arc::new(build), config)
}

async fn reload(control: &Arc<Control>, file: Config) -> Result<Vec<Swapped>, SwapError> {
    Ok(control.reload(file, false, Who::Signal).await?.swapped)
}

async fn swap(
    control: &Arc<Control>,
    stage: &str,
    component: Option<Component>,
    config: Option<String>,
) -> Result<Swapped, SwapError> {
    control.swap(stage, Replacement { component, config, write: None }, Who::Api(None)).await
}

/// By stage: generation, and whether it drifted.
fn serving(control: &Control) -> [(u64, bool); 2] {
    let serving = control.serving();
    [0, 1].map(|index| (serving[index].version.generation, serving[index].drifted))
}

/// A folder with a component in it.
fn component() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("mine.wasm");
    std::fs::write(&path, "one").expect("written");
    (folder, path)
}

#[tokio::test]
async fn a_reload_replaces_what_the_file_says_anew() {
    let (_folder, path) = component();
    let control = control(config(&path, ["1", "2"]));
    assert!(reload(&control, config(&path, ["1", "2"])).await.expect("reloads").is_empty());
    assert!(reload(&control, config(&path, ["1", " 2 "])).await.expect("reloads").is_empty(), "written otherwise");
    let swapped = reload(&control, config(&path, ["1", "3"])).await.expect("reloads");
    assert_eq!(swapped.iter().map(|swapped| swapped.stage.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(swapped[0].drained && !swapped[0].drifted);
    assert_eq!(serving(&control), [(1, false), (2, false)]);
    std::fs::write(&path, "two").expect("written");
    assert_eq!(
        reload(&control, config(&path, ["1", "3"])).await.expect("reloads").len(),
        2,
        "its component is another"
    );
    assert_eq!(serving(&control), [(2, false), (3, false)]);
}

#[tokio::test]
async fn a_file_commits_as_one_or_not_at_all() {
    let (_folder, path) = component();
    let control = control(config(&path, ["1", "2"]));
    let mut next = config(&path, ["10", "20"]);
    next.stages[1].component = Component::Uploaded("bad".into());
    for _ in 0..2 {
        let refused = reload(&control, next.clone()).await.expect_err("the second stage is bad");
        assert!(matches!(&refused, SwapError::Build { stage, serving: 1, .. } if stage == "b"), "{refused}");
        assert_eq!(serving(&control), [(1, false), (1, false)]);
    }
    let admin = Admin { address: SocketAddr::from(([127, 0, 0, 1], 1)), tls: None, data_access: DataAccess::Off };
    let more = Config { admin, ..config(&path, ["10", "2"]) };
    assert!(matches!(reload(&control, more).await, Err(SwapError::OtherChanges { .. })));
    assert!(reload(&control, config(&path, ["1", "2"])).await.expect("reloads").is_empty(), "back to what serves");
}

#[tokio::test]
async fn what_was_swapped_stays_until_the_file_is_forced() {
    let (_folder, path) = component();
    let control = control(config(&path, ["1", "2"]));
    let swapped = swap(&control, "a", None, Some("9".to_owned())).await.expect("swaps");
    assert!(swapped.drifted);
    assert_eq!(serving(&control), [(2, true), (1, false)]);
    reload(&control, config(&path, ["1", "3"])).await.expect("reloads");
    assert_eq!(serving(&control), [(2, true), (2, false)], "of a it says nothing new");
    let refused = reload(&control, config(&path, ["4", "5"])).await.expect_err("it says something new of a");
    assert!(matches!(&refused, SwapError::Drifted { stages } if stages == "\"a\""), "{refused}");
    assert_eq!(serving(&control), [(2, true), (2, false)], "nothing was changed, b neither");
    reload(&control, config(&path, ["9", "3"])).await.expect("it says what serves");
    assert_eq!(serving(&control), [(2, false), (2, false)], "so nothing is built, and nothing drifts");

    // A component that was sent by hand, then one that takes the place of the file's.
    swap(&control, "a", Some(Component::Uploaded("sent".into())), None).await.expect("swaps");
    assert_eq!(serving(&control), [(3, true), (2, false)]);
    std::fs::write(&path, "two").expect("written");
    let refused = reload(&control, config(&path, ["9", "3"])).await.expect_err("it holds something new for a");
    assert!(matches!(refused, SwapError::Drifted { .. }), "{refused}");
    std::fs::write(&path, "one").expect("written");
    reload(&control, config(&path, ["9", "3"])).await.expect("nothing new");
    let forced =
        control.reload(config(&path, ["9", "3"]), true, Who::Api(None)).await.expect("its word counts").swapped;
    assert_eq!(forced.iter().map(|swapped| swapped.stage.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(serving(&control), [(4, false), (2, false)]);
}

/// What was sent by hand lies where the file points by now.
#[tokio::test]
async fn a_component_that_serves_is_not_built_again_when_the_file_names_it() {
    let (folder, path) = component();
    let control = control(config(&path, ["1", "2"]));
    swap(&control, "a", Some(Component::Uploaded("sent".into())), None).await.expect("swaps");
    let other = folder.path().join("sent.wasm");
    std::fs::write(&other, "sent").expect("written");
    let mut next = config(&path, ["1", "2"]);
    next.stages[0].component = Component::File { path: other.clone(), sha256: None };
    assert!(reload(&control, next.clone()).await.expect("reloads").is_empty());
    assert_eq!(serving(&control), [(2, false), (1, false)]);
    std::fs::write(&other, "rebuilt").expect("written");
    assert_eq!(reload(&control, next).await.expect("reloads").len(), 1, "and is followed from there");
    assert_eq!(serving(&control), [(3, false), (1, false)]);
}

#[tokio::test]
async fn a_swap_to_what_the_file_says_is_no_drift_but_a_new_generation() {
    let (_folder, path) = component();
    let control = control(config(&path, ["{\"a\": 1}", "2"]));
    let sent = Some(Component::Uploaded("one".into()));
    let swapped = swap(&control, "a", sent, Some("{\"a\":1}".to_owned())).await.expect("swaps");
    assert_eq!((swapped.drifted, swapped.old.generation, swapped.new.generation), (false, 1, 2));
    assert_eq!(swapped.old.digest, swapped.new.digest);
    assert!(matches!(swap(&control, "c", None, None).await, Err(SwapError::UnknownStage { .. })));
    let bad = swap(&control, "a", Some(Component::Uploaded("bad".into())), None).await;
    assert!(matches!(bad, Err(SwapError::Build { serving: 2, .. })));
    assert_eq!(serving(&control), [(2, false), (1, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_ends_although_its_asker_left_and_others_wait_for_it() {
    let (_folder, path) = component();
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    let slow = move |stage: &Stage, number: u64| {
        while number == 2 && !gate.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        build(stage, number)
    };
    let control = control_with(Arc::new(slow), config(&path, ["1", "2"]));
    let left = tokio::time::timeout(Duration::from_millis(20), swap(&control, "a", None, Some("3".to_owned()))).await;
    assert!(left.is_err(), "it is not through");
    assert_eq!(serving(&control), [(1, false), (1, false)], "and says so meanwhile");
    let next = tokio::spawn({
        let control = Arc::clone(&control);
        async move { swap(&control, "a", None, Some("4".to_owned())).await }
    });
    go.store(true, Ordering::Relaxed);
    let swapped = next.await.expect("ends").expect("swaps");
    assert_eq!((swapped.old.generation, swapped.new.generation), (2, 3));
}

/// The file with other names for its two stages.
fn named(component: &Path, names: [&str; 2]) -> Config {
    let mut config = config(component, ["1", "2"]);
    for (stage, name) in config.stages.iter_mut().zip(names) {
        name.clone_into(&mut stage.name);
    }
    config
}

#[tokio::test]
async fn stages_come_and_go_and_the_others_stay_as_they_are() {
    let (_folder, path) = component();
    let control = control(config(&path, ["1", "2"]));
    let told = |reloaded: &Reloaded| reloaded.changes.join(", ");
    let serving = |control: &Control| {
        let all = control.serving();
        all.iter().map(|one| format!("{} {}", one.stage, one.version.generation)).collect::<Vec<_>>().join(", ")
    };
    let kept = control.current.snapshot().named("b").map(Arc::clone).expect("serves");
    let reloaded = control.reload(named(&path, ["c", "b"]), false, Who::Signal).await.expect("reloads");
    assert_eq!(told(&reloaded), "added processor \"c\", removed processor \"a\"");
    assert_eq!(serving(&control), "c 1, b 1");
    let is_kept = |control: &Control| control.current.snapshot().named("b").is_some_and(|b| Arc::ptr_eq(b, &kept));
    assert!(is_kept(&control) && control.current.stages().position("b") == Some(1));
    assert_eq!(control.current.stages().position("c"), Some(0), "where a was");
    swap(&control, "c", None, Some("9".to_owned())).await.expect("swaps");
    let refused = control.reload(named(&path, ["a", "b"]), false, Who::Signal).await.map(drop).expect_err("c drifted");
    assert!(matches!(&refused, SwapError::Drifted { stages } if stages == "\"c\""), "{refused}");
    control.reload(named(&path, ["a", "b"]), true, Who::Signal).await.expect("its word counts");
    assert_eq!(serving(&control), "a 2, b 1", "numbers do not go back");
    control.reload(named(&path, ["c", "b"]), false, Who::Signal).await.expect("reloads");
    assert_eq!(serving(&control), "c 3, b 1");
    assert!(is_kept(&control));
}

#[tokio::test]
async fn a_file_of_which_a_part_cannot_be_had_changes_nothing() {
    let (_folder, path) = component();
    let control = control(config(&path, ["1", "2"]));
    for names in [["a", "b"], ["c", "b"]] {
        let mut next = Config { memory: TOO_MUCH, ..named(&path, names) };
        next.stages[1].config = "3".to_owned();
        let refused = control.reload(next, false, Who::Signal).await.expect_err("the port is taken");
        assert_eq!((refused.step(), serving(&control)), ("bind", [(1, false), (1, false)]), "{refused}");
    }
    let mut next = named(&path, ["a", "c"]);
    next.stages[1].component = Component::Uploaded("bad".into());
    let refused = control.reload(next, false, Who::Signal).await.expect_err("the new stage is bad");
    assert!(matches!(&refused, SwapError::New { stage, .. } if stage == "c"), "{refused}");
    assert_eq!(serving(&control), [(1, false), (1, false)]);
    let reloaded =
        control.reload(named(&path, ["a", "c"]), false, Who::Signal).await.expect("the next good one works at once");
    assert_eq!(reloaded.changes.len(), 2);
}

/// What the engine reads of a stage, and its component does not, is not part of a swap.
#[tokio::test]
async fn the_engines_own_keys_cannot_be_swapped() {
    let (_folder, path) = component();
    let mut config = config(&path, ["{}", "{}"]);
    config.stages[0].component = Component::Bundled("redaction".to_owned());
    let control = control(config);
    for key in ["keys", "limits", "on_fault"] {
        let refused =
            swap(&control, "a", None, Some(format!("{{\"x\": 1, \"{key}\": {{}}}}"))).await.expect_err("refused");
        assert!(matches!(&refused, SwapError::FileOnly { key: told, .. } if *told == key), "{refused}");
        assert_eq!(refused.step(), "plan");
        swap(&control, "b", None, Some(format!("{{\"{key}\": {{}}}}"))).await.expect("its component judges its config");
    }
    assert_eq!(serving(&control)[0], (1, false));
}
