//! A server in this process, on a free port.

use std::net::SocketAddr;

use clap::Parser;
use server::{Config, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A running server; dropped, it goes with the test's runtime.
pub(crate) struct TestServer {
    pub(crate) addr: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

impl TestServer {
    /// With the defaults, and these flags of the command line.
    pub(crate) fn start(flags: &str) -> Self {
        let arguments = ["test", "--port", "0"].into_iter().chain(flags.split_whitespace());
        let server = Server::bind(Flags::parse_from(arguments).config).expect("a free port");
        let (stop, stopped) = oneshot::channel();
        let addr = server.addr();
        let done = tokio::spawn(server.serve(async { drop(stopped.await) }));
        Self { addr, stop, done }
    }

    /// Drains it and waits until it has ended.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.done.await.expect("the server does not panic");
    }
}
