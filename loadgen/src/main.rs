//! The `loadgen` binary.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use loadgen::cli::{self, Compare, Exit, Report, Run};
use loadgen::selftest::Selftest;

const EXAMPLES: &str = "\
Examples:
  loadgen compare                                   every transport, one workload, a report in results/
  loadgen compare --standard                        10 blocks with a twin, and what may be said of the differences
  loadgen selftest                                  what this machine may be trusted with
  loadgen --mode ws --clients 5000                  one transport, one run
  loadgen -m short-poll -c 200 --interval 250ms -z 30s --url http://127.0.0.1:3000

Exit codes: 0 done (the verdict is printed), 1 a trial or its audit failed, 2 wrong usage, 130 interrupted.";

/// Plays thousands of chat clients and measures what each transport costs.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, max_term_width = 110)]
#[command(arg_required_else_help = true, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
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
    /// Print the JSON Schema of comparison.json.
    Schema,
    /// Run the server, as the `server` binary does.
    Serve {
        #[command(flatten)]
        config: server::Config,
        #[command(flatten)]
        options: server::Options,
    },
}

fn main() -> ExitCode {
    let Cli { command, run } = Cli::parse();
    let result = match command.unwrap_or(Command::Run(run)) {
        Command::Serve { config, options } => return server::run(config, &options),
        Command::Run(run) => loadgen::block_on(run.run()),
        Command::Compare(compare) => loadgen::block_on(compare.run()),
        Command::Report(report) => report.run(),
        Command::Selftest(selftest) => loadgen::block_on(selftest.run()),
        Command::Schema => cli::schema(),
    };
    let exit = result.unwrap_or_else(|error| {
        eprintln!("loadgen: {error:#}");
        Exit::Usage
    });
    exit.into()
}
