//! What the server costs, beside what nobody can go below: `cargo bench -p server [-- SECTION ...] [--pairs N]`.
//!
//! The server runs on one core, readers and publisher on another, over real loopback sockets. Beside it, in the same
//! run and in turn with it, runs what it is compared with: the *floor*, a bare loop that `write`s the same bytes to as
//! many sockets; bare hyper; nginx with nchan. Only ratios mean anything: an absolute time belongs to the machine and
//! the minute. A bar that is missed ends it with 1. Without `--bench` (`cargo test`) everything runs once, tiny.

mod child;
mod crowd;
mod framing;
mod memory;
mod nchan;
mod parts;
mod polling;
mod publisher;
mod section;
mod side;
mod spread;

use std::process::ExitCode;

use crate::child::Cores;
use crate::section::Size;
use crate::spread::Bars;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("part-floor") => parts::floor(),
        Some("part-hyper") => parts::hyper(),
        _ => return run(&arguments),
    }
    ExitCode::SUCCESS
}

fn run(arguments: &[String]) -> ExitCode {
    framing::check();
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let mut size = if measured { Size::WHOLE } else { Size::TINY };
    let mut wanted = Vec::new();
    let mut rest = arguments
        .iter()
        .filter(|argument| !["--bench", "--nocapture"].contains(&argument.as_str()));
    while let Some(argument) = rest.next() {
        if argument == "--pairs" {
            let Some(pairs) = rest
                .next()
                .and_then(|pairs| pairs.parse().ok())
                .filter(|pairs| *pairs > 0)
            else {
                eprintln!("fanout: --pairs takes a whole number from 1");
                return ExitCode::from(2);
            };
            size.pairs = pairs;
        } else if section::ALL.iter().any(|(name, _)| name == argument) {
            wanted.push(argument.as_str());
        } else if !measured {
            // The name of some other test.
            return ExitCode::SUCCESS;
        } else {
            let names: Vec<&str> = section::ALL.iter().map(|(name, _)| *name).collect();
            eprintln!(
                "fanout: there is no section {argument}; there are {} (and --pairs N)",
                names.join(", ")
            );
            return ExitCode::from(2);
        }
    }
    let cores = Cores::take();
    println!("{}; median of pairs [least .. most]", cores.describe());
    if !measured {
        println!("a tiny run: it works or fails, its figures mean nothing");
    }
    let mut bars = Bars::default();
    for (name, section) in section::ALL {
        if wanted.is_empty() || wanted.contains(name) {
            println!("\n{name}");
            section(&cores, &size, &mut bars);
        }
    }
    if !measured {
        println!("\nthat was a tiny run: no figure above means anything, whatever its bar");
        return ExitCode::SUCCESS;
    }
    println!("\n{bars}");
    ExitCode::from(u8::from(bars.are_missed()))
}
