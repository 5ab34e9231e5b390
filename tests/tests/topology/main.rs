//! A changed file is live as a whole: receivers, exporters, pipelines, their order, samplers and settings, with their stages.
//!
//! Requests show by what arrives of them which file judged them: each by one alone.

mod backlog;
mod lab;
mod parts;
mod ports;
mod refused;
mod samplers;
mod settings;
mod walk;
