//! Screens of made-up answers.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::model::{Model, Sort};
use super::{Ui, Wish, draw};

fn rate(count: u64, per_second: f64) -> Value {
    json!({ "count": count, "per_second": per_second, "total": 2 * count })
}

fn stage(name: &str, state: &str, items: f64, nanoseconds: f64, memory: u64) -> Value {
    json!({
        "stage": name, "role": "processor", "health": { "state": state },
        "items_in": rate((items * 10.0) as u64, items), "refused": rate(0, 0.0),
        "guest_nanoseconds": rate((nanoseconds * 10.0) as u64, nanoseconds),
        "guest_nanoseconds_per_item": nanoseconds / items,
        "calls": { "count": 100, "per_second": 10.0, "total": 5_000 },
        "instances": rate(0, 0.0), "memory_bytes": memory, "memory_grew_bytes": 0,
        "timings": { "p99_microseconds": 120 }, "faults": [],
        "rules": [{ "rule": "a", "dropped": rate(3, 0.04), "edited": rate(0, 0.0) }],
    })
}

fn status() -> Value {
    let pipeline = |name: &str, ready: bool| {
        json!({
            "pipeline": name, "ready": ready, "held": 7, "items_in": rate(1, 1_000.0), "items_out": rate(1, 900.0),
            "dropped_intended": rate(1, 99.5), "dropped_unintended": rate(1, 0.04),
        })
    };
    json!({
        "version": "0.1.0", "ready": false, "uptime_seconds": 3_700, "data_access": "off", "drifted": ["redaction"],
        "memory": { "used_bytes": 10 << 20, "limit_bytes": 512 << 20 },
        "pipelines": [pipeline("traces", true), pipeline("logs/audit", false)],
    })
}

fn graph() -> Value {
    let numbers =
        json!({ "items_in": rate(1, 500.0), "items_out": rate(1, 50.0), "dropped": rate(1, 440.0), "waiting": 1_234 });
    json!({ "nodes": [
        { "kind": "sampler", "name": "tail_sampling", "pipeline": "traces", "numbers": numbers },
        { "kind": "stage", "name": "filter/health", "pipeline": "traces" },
    ] })
}

fn stages() -> Value {
    let mut greedy = stage("redaction", "paused", 1_000.0, 6.0e8, 5 << 20);
    greedy["refused"] = rate(200, 20.0);
    greedy["memory_grew_bytes"] = json!(65_536);
    let mut policy = stage("tail_sampling", "ok", 500.0, 1.0e6, 2 << 20);
    policy["role"] = json!("policy");
    let decided = |rule: &str, kept: u64| json!({ "rule": rule, "dropped": rate(0, 0.0), "edited": rate(0, 0.0), "kept_traces": rate(kept, 1.0), "dropped_traces": rate(0, 0.0) });
    policy["rules"] = json!([decided("errors", 4), decided("never", 0)]);
    json!({ "stages": [stage("filter/health", "ok", 1_000.0, 3.0e6, 1 << 20), greedy, policy] })
}

fn model(sort: Sort) -> Model {
    Model::of(&status(), &stages(), &graph(), sort)
}

fn screen(model: &Model, ui: &Ui) -> String {
    let mut terminal = Terminal::new(TestBackend::new(130, 22)).unwrap();
    terminal.draw(|frame| draw::draw(frame, model, ui)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

/// As `BLESS=1 cargo test --lib cli::top` writes it.
fn golden(name: &str, text: &str) {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/cases/cli/{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&file).unwrap_or_default(), "{}", file.display());
}

#[test]
fn a_screen_shows_pipelines_samplers_stages_and_what_smells() {
    golden("top", &screen(&model(Sort::File), &Ui::default()));
}

#[test]
fn what_smells_is_told_and_nothing_else() {
    let advice = model(Sort::File).advice;
    let told = |part: &str| advice.iter().filter(|line| line.contains(part)).count();
    assert_eq!(advice.len(), 4, "{advice:?}");
    assert_eq!(
        (told("redaction takes 60 %"), told("redaction grows"), told("redaction lets 2.0 %")),
        (1, 1, 1),
        "{advice:?}"
    );
    assert_eq!(told("policy \"never\" of tail_sampling"), 1, "{advice:?}");
    let well = json!({ "stages": [stage("filter/health", "ok", 1_000.0, 4.9e8, 1 << 20)] });
    assert_eq!(Model::of(&status(), &well, &graph(), Sort::File).advice, Vec::<String>::new());
}

#[test]
fn stages_are_sorted_by_what_is_asked_for() {
    let names = |sort| model(sort).stages.into_iter().map(|stage| stage.stage).collect::<Vec<_>>();
    assert_eq!(names(Sort::File), ["filter/health", "redaction", "tail_sampling"]);
    assert_eq!(names(Sort::Cpu), ["redaction", "filter/health", "tail_sampling"]);
    assert_eq!(names(Sort::Memory), ["redaction", "tail_sampling", "filter/health"]);
    let mut sort = Sort::File;
    (0..6).for_each(|_| sort = sort.next());
    assert_eq!(sort, Sort::File);
}

fn key(ui: &mut Ui, code: KeyCode, model: &Model) -> Wish {
    ui.key(KeyEvent::new(code, KeyModifiers::NONE), model)
}

#[test]
fn a_pause_is_asked_for_and_a_resume_is_not() {
    let (model, mut ui) = (model(Sort::File), Ui::default());
    assert_eq!(key(&mut ui, KeyCode::Char('p'), &model), Wish::Nothing);
    assert!(screen(&model, &ui).contains("pause filter/health? y/n"));
    assert_eq!(key(&mut ui, KeyCode::Char('n'), &model), Wish::Nothing);
    key(&mut ui, KeyCode::Char('p'), &model);
    assert_eq!(key(&mut ui, KeyCode::Char('y'), &model), Wish::Pause("filter/health".to_owned()));
    key(&mut ui, KeyCode::Down, &model);
    assert_eq!(key(&mut ui, KeyCode::Char('p'), &model), Wish::Resume("redaction".to_owned()));
    (0..9).for_each(|_| drop(key(&mut ui, KeyCode::Down, &model)));
    assert_eq!(ui.chosen.as_deref(), Some("tail_sampling"));
    (0..9).for_each(|_| drop(key(&mut ui, KeyCode::Up, &model)));
    assert_eq!(ui.chosen.as_deref(), Some("filter/health"));
    assert_eq!(key(&mut ui, KeyCode::Char('q'), &model), Wish::Quit);
}

/// Names come from files and from the API: they do not steer the terminal.
#[test]
fn a_small_terminal_and_odd_names_are_survived() {
    let odd = json!({ "stages": [stage("a\u{1b}[31m", "ok", 1.0, 1.0, 1)] });
    let model = Model::of(&json!({}), &odd, &json!({}), Sort::File);
    assert!(!screen(&model, &Ui::default()).contains('\u{1b}'));
    let mut terminal = Terminal::new(TestBackend::new(3, 1)).unwrap();
    terminal.draw(|frame| draw::draw(frame, &model, &Ui::default())).unwrap();
}
