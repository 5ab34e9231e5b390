//! `sluicebox top`: pipelines and stages live, in a terminal.
//!
//! What is shown is made of the admin API's answers by a pure function (`model`), and drawn by another one (`draw`); here are the terminal,
//! the keys and the clock.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;

use self::model::{Model, Sort};
use crate::admin::{PauseRequest, ResumeRequest};
use crate::cli::call::{Admin, get, post_json, wait};
use crate::cli::{complain, exit};

mod draw;
mod model;
#[cfg(test)]
mod tests;

/// Between two looks at the engine.
const INTERVAL: Duration = Duration::from_secs(1);

/// Arguments of `top`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Keys: arrows choose a stage, s sorts, p pauses or resumes it, q quits.\n\nExamples:\n  sluicebox top\n  sluicebox status --output json    where there is no terminal"
)]
pub struct TopArgs {
    #[command(flatten)]
    admin: Admin,
}

/// What the person at the terminal has done so far.
#[derive(Clone, Debug, Default)]
struct Ui {
    sort: Sort,
    /// The name of the chosen stage.
    chosen: Option<String>,
    /// A question that is to be answered by y or n: to have this stage paused.
    asks_to_pause: Option<String>,
    /// What became of the last key.
    said: Option<String>,
}

/// What a key asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    Quit,
    Pause(String),
    Resume(String),
}

/// Shows it until it is quit, or until the engine does not answer any more.
pub fn run(args: &TopArgs) -> anyhow::Result<ExitCode> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        complain(
            "error[E0534]: `top` needs a terminal\n  help:   for programs there is `sluicebox status --output json`, and for a page \
             `sluicebox graph --live`",
        );
        return Ok(ExitCode::from(exit::FAILED));
    }
    // Before the terminal is taken over, so that it can be told that nobody answers.
    let first = match look(&args.admin)? {
        Ok(model) => model,
        Err(code) => return Ok(code),
    };
    let mut terminal = ratatui::try_init()?;
    let ended = watch(&args.admin, first, &mut terminal);
    ratatui::try_restore()?;
    let code = ended?;
    if code.is_some() {
        complain("error[E0506]: the engine does not answer any more");
    }
    Ok(code.unwrap_or(ExitCode::SUCCESS))
}

/// The exit code where the engine stopped answering.
fn watch(admin: &Admin, first: Answers, terminal: &mut DefaultTerminal) -> anyhow::Result<Option<ExitCode>> {
    let (mut answers, mut ui, mut looked) = (first, Ui::default(), Instant::now());
    loop {
        let model = Model::of(&answers.status, &answers.stages, &answers.graph, ui.sort);
        terminal.draw(|frame| draw::draw(frame, &model, &ui))?;
        let patience = INTERVAL.saturating_sub(looked.elapsed());
        if event::poll(patience)? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                match ui.key(key, &model) {
                    Wish::Nothing => {}
                    Wish::Quit => return Ok(None),
                    wish => {
                        ui.said = Some(fulfil(admin, &wish)?);
                        // What was told of a refusal stands across the screen.
                        terminal.clear()?;
                    }
                }
            }
        } else {
            answers = match look(admin)? {
                Ok(answers) => answers,
                Err(code) => return Ok(Some(code)),
            };
            looked = Instant::now();
        }
    }
}

/// What the engine says at one moment.
struct Answers {
    status: Value,
    stages: Value,
    graph: Value,
}

fn look(admin: &Admin) -> anyhow::Result<Result<Answers, ExitCode>> {
    let ask = |path: &str| anyhow::Ok(wait(get(admin, path))?.of_question());
    let (status, stages, graph) = (ask("/v1/status")?, ask("/v1/stages")?, ask("/v1/graph")?);
    Ok(match (status, stages, graph) {
        (Ok(status), Ok(stages), Ok(graph)) => Ok(Answers { status, stages, graph }),
        (Err(code), ..) | (_, Err(code), _) | (.., Err(code)) => Err(code),
    })
}

/// What became of it, in a line.
fn fulfil(admin: &Admin, wish: &Wish) -> anyhow::Result<String> {
    let (stage, answered) = match wish {
        Wish::Pause(stage) => {
            let request = PauseRequest { stage: stage.clone(), seconds: None, force: false };
            (stage, wait(post_json(admin, "/v1/pause", &request))?)
        }
        Wish::Resume(stage) => {
            let request = ResumeRequest { stage: stage.clone() };
            (stage, wait(post_json(admin, "/v1/resume", &request))?)
        }
        Wish::Nothing | Wish::Quit => return Ok(String::new()),
    };
    Ok(match (answered.of_question(), wish) {
        (Ok(paused), Wish::Pause(_)) => format!("{stage} is paused: {}", crate::cli::table::text(&paused, "effect")),
        (Ok(_), _) => format!("{stage} is called again"),
        (Err(_), _) => format!("refused: `sluicebox pause {stage}` says why"),
    })
}

impl Ui {
    fn key(&mut self, key: KeyEvent, model: &Model) -> Wish {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Wish::Quit;
        }
        if let Some(stage) = self.asks_to_pause.take() {
            return if key.code == KeyCode::Char('y') { Wish::Pause(stage) } else { Wish::Nothing };
        }
        self.said = None;
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Down | KeyCode::Char('j') => self.choose(model, 1),
            KeyCode::Up | KeyCode::Char('k') => self.choose(model, -1),
            KeyCode::Char('p') => {
                let Some(chosen) = model.chosen(self.chosen.as_deref()) else { return Wish::Nothing };
                if chosen.is_paused {
                    return Wish::Resume(chosen.stage.clone());
                }
                self.asks_to_pause = Some(chosen.stage.clone());
            }
            _ => {}
        }
        Wish::Nothing
    }

    fn choose(&mut self, model: &Model, by: isize) {
        let now = model.place_of(self.chosen.as_deref()).unwrap_or(0);
        let next = now.saturating_add_signed(by).min(model.stages.len().saturating_sub(1));
        self.chosen = model.stages.get(next).map(|stage| stage.stage.clone());
    }
}
