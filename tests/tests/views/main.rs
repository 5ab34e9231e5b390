//! What a running engine shows of itself, against what was sent to it and what a sink saw; and stages that are paused.

mod decisions;
mod graphs;
mod lab;
mod limits;
mod pauses;
mod rates;
mod stages;
mod verbs;
