//! `sluicebox try` and `POST /v1/try`: what a try says is what the engine does, and the engine sees nothing of it.

mod beside;
mod bundled;
mod lab;
mod same;
mod sampling;
mod shown;
mod wrong;
