//! The `server` binary.

use std::process::ExitCode;

use clap::Parser;

/// One chat over short polling, long polling, SSE and WebSocket, on one shared message log, with demo pages.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: server::Config,
    #[command(flatten)]
    options: server::Options,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    server::run(cli.config, &cli.options)
}
