//! Plays thousands of chat clients and measures what each transport costs.
//!
//! A load flows one way: scenario (what goes in) -> [`plan`] (which trials, in which order) -> [`target`] (what is
//! measured) -> [`load`] (the phases of a trial) -> [`client`] -> the server -> [`measure`] -> outcome (what came out) ->
//! [`judge`] -> [`report`].
//!
//! All that is saved of it is in [`result`], below everything: it knows no other module, and [`judge`] and [`report`]
//! know nothing else. [`comparison`] begins one and reads one from its file. No two modules know each other in a circle
//! (`tests/all/structure.rs`).
//!
//! A trial (`load/trial`) runs the phases of the scenario's timeline. It has two sides that know nothing of each other.
//! `load/publishers` publish: [`pacer`] says which message is due when, from the seed alone, a thread keeps that time, and
//! each text carries its id, its due time and a checksum ([`message_id`]). `load/subscribers` subscribe: threads with a
//! runtime and a recorder each, one connection per simulated client, [`client::Client`] for what differs between transports
//! and one file for each of them; [`client::dialect`] for what differs between servers.
//!
//! What is measured: `measure/recorder` (how late: received minus due), `measure/audit` (how complete: which messages every
//! subscriber has got, by their ids), `measure/reading` (at what price). `load/settle` brings the two sides together into
//! a [`result::outcome::Outcome`].
//!
//! [`selftest`] says in a minute what the machine may be trusted with. `examples/overhead.rs` and `examples/error-rate.rs`
//! measure loadgen itself: what its recording costs, and how often its comparisons are wrong. [`probe`] measures nothing: it
//! finds out what a path to a server carries.
//!
//! Around it: [`console`] (what people are told), [`signals`] (what ends a run early), [`folder`] (where results go).
//!
//! A server is known over HTTP and WebSocket alone; its messages are parsed with types of our own.

// People are told things by `console` alone: these would panic where nobody reads.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod capacity;
mod children;
pub mod cli;
pub mod client;
pub mod clock;
pub mod comparison;
pub mod console;
pub mod cores;
pub mod environment;
pub mod fault;
pub mod folder;
pub mod foreign;
pub mod hint;
pub mod judge;
pub mod load;
pub mod measure;
pub mod message_id;
pub mod pacer;
pub mod plan;
pub mod probe;
pub mod progress;
pub mod report;
pub mod result;
pub mod selftest;
pub mod shell;
pub mod signals;
pub mod target;

/// Runs a command on a runtime of its own, with as many descriptors as this process may have.
pub fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(command);
    // A lookup of a name that takes its time is not waited for.
    runtime.shutdown_background();
    result
}
