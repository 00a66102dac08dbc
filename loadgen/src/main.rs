//! The `loadgen` binary.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::{ErrorKind, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use loadgen::cli::{self, Compare, Exit, Report, Run};
use loadgen::console;
use loadgen::hint;
use loadgen::probe::{self, Probe};
use loadgen::result::proxy::Proxy;
use loadgen::selftest::Selftest;
use loadgen::signals::{self, First, Interrupted};
use loadgen::target;

const EXAMPLES: &str = "\
Examples:
  loadgen compare                                   every transport, one workload, a report in results/
  loadgen compare --mode sse,ws --budget 10m        two of them, and more sets to see smaller differences with
  loadgen compare --via nginx                       what nginx before the server costs each of them
  loadgen selftest                                  what this machine may be trusted with
  loadgen probe http://127.0.0.1:8080               what a path to a running server carries
  loadgen --mode ws --clients 5000                  one transport, one run
  loadgen -m short-poll -c 200 --interval 250ms -z 30s --url http://127.0.0.1:3000

Exit codes: 0 done (the verdict is printed); 1 a trial or its audit failed, messages are missing, or a result could not
be written; 2 wrong usage; 130, 143, 129 ended early by Ctrl-C, SIGTERM, SIGHUP (what was measured is kept).";

/// Plays thousands of chat clients and measures what each transport costs.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110)]
#[command(
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// One trial of one transport (the default command).
    #[command(after_help = EXAMPLES)]
    Run(Run),
    /// Each transport in turn against a fresh server, and a report.
    #[command(after_help = EXAMPLES)]
    Compare(Compare),
    /// Render the reports of a result again, from its JSON alone.
    Report(Report),
    /// What this machine may be trusted with: a minute of known answers.
    Selftest(Selftest),
    /// What the path to a running server carries: its proxies and balancers.
    #[command(after_help = probe::EXAMPLES)]
    Probe(Probe),
    /// Print the JSON Schema of comparison.json.
    Schema,
    /// Run the hiccup meter on these cores, until standard input ends.
    #[command(hide = true)]
    Meter { cores: Vec<usize> },
    /// Run an ordinary server to compare with, on a free port, until standard input ends.
    #[command(hide = true)]
    Stock,
    /// Keep a proxy before a server, for so many connections, until standard input ends.
    #[command(hide = true)]
    Proxy {
        proxy: Proxy,
        server: SocketAddr,
        connections: usize,
    },
    /// Run the server, as the `server` binary does.
    Serve {
        #[command(flatten)]
        config: server::Config,
        #[command(flatten)]
        options: server::Options,
    },
}

fn main() -> ExitCode {
    console::take_panics();
    let Cli { command, run } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            let exit = answer_usage(&answer);
            say_what_was_meant(&answer);
            return exit;
        }
    };
    let command = command.unwrap_or(Command::Run(run));
    let first = match command {
        Command::Serve { config, options } => {
            target::continue_when_alone();
            return server::run(config, &options);
        }
        Command::Stock => {
            target::continue_when_alone();
            First::EndsTheProgram
        }
        // It listens for signals of its own: the proxy goes before it does.
        Command::Proxy {
            proxy,
            server,
            connections,
        } => {
            let kept = target::via::keep(proxy, server, connections);
            return kept.map_or_else(
                |error| {
                    console::say(&format!("{error:#}"));
                    console::flush();
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            );
        }
        Command::Run(_) | Command::Compare(_) | Command::Probe(_) => First::EndsTheRun,
        _ => First::EndsTheProgram,
    };
    let result = signals::listen(first).and_then(|()| match command {
        Command::Run(run) => loadgen::block_on(run.run()),
        Command::Compare(compare) => loadgen::block_on(compare.run()),
        Command::Report(report) => report.run(),
        Command::Selftest(selftest) => loadgen::block_on(selftest.run()),
        Command::Probe(probe) => loadgen::block_on(probe.run()),
        Command::Meter { cores } => loadgen::measure::meter::run(&cores).map(|()| Exit::Done),
        Command::Stock => loadgen::target::stock::run().map(|()| Exit::Done),
        Command::Schema | Command::Serve { .. } | Command::Proxy { .. } => cli::schema(),
    });
    let exit = result.unwrap_or_else(|error| {
        if !error.is::<Interrupted>() {
            console::say(&format!("loadgen: {error:#}"));
        }
        Exit::Usage
    });
    console::flush();
    // Whatever came of it: who asked for an early end is told that it was one.
    signals::received().map_or(exit.into(), |signal| signal.exit_code().into())
}

/// What would be right, below what is wrong with the command line.
fn say_what_was_meant(answer: &clap::Error) {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into())
        .collect();
    if let Some(hint) = hint::hint(&arguments, &answer.to_string()).filter(|_| answer.use_stderr())
    {
        console::say(&format!("loadgen: {hint}"));
        console::flush();
    }
}

/// Help and the version, on standard output; or what is wrong with the command line, on standard error.
fn answer_usage(answer: &clap::Error) -> ExitCode {
    if answer.use_stderr() && !std::io::stderr().is_terminal() {
        // As all else that is said: it waits for nobody.
        console::say(answer.render().to_string().trim_end());
        console::flush();
        return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
    }
    match answer.print().and_then(|()| std::io::stdout().flush()) {
        Err(error) if !answer.use_stderr() && error.kind() != ErrorKind::BrokenPipe => {
            console::say(&format!(
                "loadgen: cannot write to standard output: {error}"
            ));
            console::flush();
            ExitCode::from(1)
        }
        _ => ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2)),
    }
}
