//! Going back, what is kept for it, and what the history says of it.

use super::*;
use crate::control::history::Record;

async fn to(control: &Arc<Control>, config: u32) -> u64 {
    swap(control, "a", None, Some(config.to_string())).await.expect("swaps").new.generation
}

async fn back(control: &Arc<Control>, to: Option<u64>) -> Result<Swapped, SwapError> {
    control.rollback("a", to, Who::Api(None)).await
}

/// The configuration that serves at the stage `a`.
fn config_of_a(control: &Control) -> String {
    control.state().stages[0].serving.config.clone()
}

fn records(control: &Control) -> Vec<Record> {
    control.history().stages(Some("a")).remove(0).generations
}

/// Builds as `build` does, and counts.
fn counting(count: &Arc<std::sync::atomic::AtomicU64>) -> Arc<Build> {
    let count = Arc::clone(count);
    Arc::new(move |stage, number| {
        count.fetch_add(1, Ordering::Relaxed);
        build(stage, number)
    })
}

#[tokio::test]
async fn going_back_builds_nothing_and_goes_further_each_time() {
    let (_folder, path) = component();
    let built = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let control = control_with(counting(&built), config(&path, ["1", "2"]));
    assert!(matches!(back(&control, None).await, Err(SwapError::NoGeneration { .. })), "nothing served before");
    assert_eq!((to(&control, 20).await, to(&control, 30).await), (2, 3));
    let before = built.load(Ordering::Relaxed);
    let swapped = back(&control, None).await.expect("to 2");
    assert_eq!((swapped.new.generation, swapped.rollback_to, swapped.drifted), (4, Some(2), true));
    assert_eq!(config_of_a(&control), "20");
    let swapped = back(&control, None).await.expect("to 1, not to 3");
    assert_eq!((swapped.new.generation, swapped.rollback_to, swapped.drifted), (5, Some(1), false));
    assert_eq!(config_of_a(&control), "1");
    assert!(matches!(back(&control, None).await, Err(SwapError::NoGeneration { .. })), "nothing is older");
    let swapped = back(&control, Some(3)).await.expect("what was rolled back from is kept");
    assert_eq!((swapped.new.generation, config_of_a(&control).as_str()), (6, "30"));
    assert_eq!(built.load(Ordering::Relaxed), before);
    // 1 served last as 5: both numbers name it.
    let refused = back(&control, Some(7)).await.expect_err("unknown");
    assert!(refused.to_string().contains("there are 4, 5"), "{refused}");
    assert_eq!(back(&control, Some(1)).await.expect("kept").rollback_to, Some(5));
    assert_eq!(config_of_a(&control), "1");
}

#[tokio::test]
async fn two_are_kept_and_older_ones_are_built_again() {
    let (_folder, path) = component();
    let built = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let control = control_with(counting(&built), config(&path, ["1", "2"]));
    for config in [2, 3, 4] {
        to(&control, config * 10).await;
    }
    let kept = || control.metrics.stage("a").generations_kept.get();
    assert_eq!(kept(), 2);
    let before = built.load(Ordering::Relaxed);
    assert_eq!(back(&control, Some(1)).await.expect("built again").rollback_to, Some(1));
    assert_eq!((built.load(Ordering::Relaxed) - before, config_of_a(&control).as_str()), (1, "1"));
    assert!(control.relieve() && control.relieve() && !control.relieve(), "one after another");
    assert_eq!(kept(), 0);
    std::fs::write(&path, "two").expect("written");
    let refused = back(&control, Some(2)).await.expect_err("its component is gone");
    assert!(matches!(&refused, SwapError::Gone { number: 2, .. }), "{refused}");
    assert_eq!(config_of_a(&control), "1");
    for config in 50..60 {
        to(&control, config).await;
    }
    assert!(matches!(back(&control, Some(4)).await, Err(SwapError::NoGeneration { .. })), "eight are remembered");
}

#[tokio::test]
async fn what_was_sent_can_be_returned_to_while_it_is_kept() {
    let (_folder, path) = component();
    let control = control(config(&path, ["1", "2"]));
    swap(&control, "a", Some(Component::Uploaded("sent".into())), None).await.expect("swaps");
    to(&control, 30).await;
    assert_eq!(back(&control, None).await.expect("kept").new.digest, wasm::digest(b"sent"));
    to(&control, 40).await;
    while control.relieve() {}
    let refused = back(&control, None).await.expect("to the file's");
    assert_eq!(refused.rollback_to, Some(1), "of those that were sent nothing is left");
}

#[tokio::test]
async fn the_history_says_what_served_and_why_it_ended() {
    let (_folder, path) = component();
    let control = control(config(&path, ["{\"password\": \"hunter2\"}", "2"]));
    let who = Who::Api(crate::control::who::Claimed::of("alice"));
    let new = |config: &str| Replacement { config: Some(config.to_owned()), ..Replacement::default() };
    control.swap("a", new("20"), who.clone()).await.expect("swaps");
    let bad = Replacement { component: Some(Component::Uploaded("bad".into())), ..Replacement::default() };
    let step = format!("refused at {}", control.swap("a", bad, who.clone()).await.expect_err("is bad").step());
    control.swap("a", new("30"), who.clone()).await.expect("swaps");
    control.rollback("a", None, who).await.expect("to 2");
    let records = records(&control);
    let shown: Vec<_> = records
        .iter()
        .map(|record| (record.generation, record.who.as_str(), record.result.as_str(), record.why.as_deref()))
        .collect();
    let alice = "api (alice, as it says)";
    let expected = [
        (Some(1), "start", "replaced", Some("replaced by 2")),
        (Some(2), alice, "replaced", Some("replaced by 3")),
        (None, alice, step.as_str(), None),
        (Some(3), alice, "rolled back", Some("rollback to 2, as 4")),
        (Some(4), alice, "serving", None),
    ];
    assert_eq!(shown, expected);
    assert_eq!(records[1].config, records[4].config);
    assert_ne!(records[0].config, records[1].config);
    assert!(!format!("{records:?}").contains("hunter2"));
}

#[tokio::test]
async fn drift_says_where_who_and_what_a_restart_returns_to() {
    let (_folder, path) = component();
    let mut file = config(&path, ["1", "2"]);
    (file.stages[0].place.line, file.stages[0].config_place.line, file.stages[0].config_place.file) = (7, 3, 1);
    file.files = vec!["config.yaml".to_owned(), "rules.yaml".to_owned()];
    let control = control(file);
    assert_eq!(control.serving()[0].drift, None);
    let swapped = swap(&control, "a", Some(Component::Uploaded("sent".into())), Some("9".to_owned())).await;
    let drift = swapped.expect("swaps").drift.expect("it drifted");
    let places: Vec<_> = drift.places.iter().map(|at| format!("{} {}:{}", at.key, at.file, at.line)).collect();
    assert_eq!(places, ["component config.yaml:7", "config rules.yaml:3"]);
    assert_eq!((drift.returns_to_digest.as_str(), drift.who.as_str()), (wasm::digest(b"one").as_str(), "api"));
    assert!(drift.since > 1_700_000_000);
    assert_eq!(control.serving()[0].drift.as_ref(), Some(&drift));
    assert_eq!(control.metrics.stage("a").drifted.get(), 1);
    back(&control, None).await.expect("goes back");
    assert_eq!((control.serving()[0].drift.clone(), control.metrics.stage("a").drifted.get()), (None, 0));
}
