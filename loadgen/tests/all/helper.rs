//! A server in this process, on a free port; loadgen as a process; and whose turn it is.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle as JoinThread;
use std::time::{Duration, Instant};

use clap::Parser;
use loadgen::client::{Cadence, Setup};
use loadgen::result::variant::Headers;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server::{Config, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A running server; dropped, it goes with the test's runtime, or at once.
pub(crate) struct TestServer {
    pub(crate) addr: SocketAddr,
    runs: Runs,
}

enum Runs {
    Here(oneshot::Sender<()>, JoinHandle<()>),
    /// It goes with its standard input.
    Shipped(Child),
}

impl TestServer {
    /// With the defaults, and these flags of the command line.
    pub(crate) fn start(flags: &str) -> Self {
        if let Some(folder) = &*SHIPPED {
            return Self::start_shipped(&format!("{folder}/server"), flags);
        }
        let arguments = ["test", "--port", "0"]
            .into_iter()
            .chain(flags.split_whitespace());
        let server = Server::bind(Flags::parse_from(arguments).config).expect("a free port");
        let (stop, stopped) = oneshot::channel();
        let addr = server.addr();
        let done = tokio::spawn(server.serve(async { drop(stopped.await) }));
        Self {
            addr,
            runs: Runs::Here(stop, done),
        }
    }

    fn start_shipped(program: &str, flags: &str) -> Self {
        let mut command = command(
            program,
            &format!("--port 0 --print-addr --exit-with-stdin {flags}"),
        );
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            addr: line.trim().parse().expect("an address"),
            runs: Runs::Shipped(child),
        }
    }

    /// Drains it and waits until it has ended.
    pub(crate) async fn stop(self) {
        match self.runs {
            Runs::Here(stop, done) => {
                drop(stop);
                done.await.expect("the server does not panic");
            }
            Runs::Shipped(child) => {
                let end = tokio::task::spawn_blocking(|| child.wait_with_output());
                assert!(
                    end.await.unwrap().expect("it ends").status.success(),
                    "the server does not panic"
                );
            }
        }
    }
}

/// A client of a room, with a browser's headers, that polls every millisecond.
pub(crate) fn setup(addr: SocketAddr, room: &str) -> Setup {
    Setup {
        active: loadgen::clock::always(),
        addr,
        dialect: Arc::default(),
        room: room.into(),
        cadence: Cadence {
            interval: Duration::from_millis(1),
            phase: Duration::ZERO,
        },
        hold: Duration::from_secs(25),
        headers: Headers::Browser,
        keep_alive: true,
        timestamped: true,
        meter: Arc::default(),
        link: None,
        line: None,
    }
}

/// A folder that goes with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadgen-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Tests that need the machine calm wait for those that do not, and the other way round.
static TURN: RwLock<()> = RwLock::new(());

/// A turn beside others, until it is dropped.
pub(crate) struct Turn(#[expect(dead_code, reason = "it is held")] RwLockReadGuard<'static, ()>);

/// A turn beside others.
pub(crate) fn beside() -> Turn {
    Turn(TURN.read().unwrap_or_else(PoisonError::into_inner))
}

/// A turn alone.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of the binaries that are shipped, if they are to be tested: without what tests may break in them.
static SHIPPED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("SHIPPED").ok());

/// The binary: as it is shipped, or as it was built with these tests.
pub(crate) fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| match &*SHIPPED {
        Some(folder) => format!("{folder}/loadgen"),
        None => env!("CARGO_BIN_EXE_loadgen").into(),
    });
    &PROGRAM
}

/// The binary, with these arguments.
pub(crate) fn loadgen(arguments: &str) -> Command {
    command(program(), arguments)
}

/// The binary whose servers can be told to do something wrong.
pub(crate) fn faulty(arguments: &str) -> Command {
    command(env!("CARGO_BIN_EXE_loadgen"), arguments)
}

fn command(program: &str, arguments: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments.split_whitespace())
        .stdin(Stdio::null());
    command
}

/// A trial under way, in its measuring window.
pub(crate) struct Running {
    loadgen: Child,
}

impl Running {
    pub(crate) fn start(load: &str) -> Self {
        Self::spawn(loadgen(load))
    }

    /// Against a server with these flags, which may tell it to do something wrong.
    pub(crate) fn start_faulty(load: &str, server_flags: &str) -> Self {
        let mut command = faulty(load);
        command.args(["--server-flags", server_flags]);
        Self::spawn(command)
    }

    /// Under a command that runs it, in the same process.
    pub(crate) fn start_in(around: &[&str], load: &str) -> Self {
        let mut command = Command::new(around[0]);
        command
            .args(&around[1..])
            .arg(program())
            .args(load.split_whitespace());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let command = command
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut loadgen = command.spawn().expect("loadgen starts");
        // The pipe has to stay open for the later lines of progress.
        let mut progress = BufReader::new(loadgen.stderr.take().unwrap());
        let (mut line, mut all) = (String::new(), String::new());
        while !line.contains("measuring") {
            line.clear();
            assert!(
                progress.read_line(&mut line).unwrap() > 0,
                "it ended before it measured: {all}"
            );
            all += &line;
        }
        std::thread::spawn(move || std::io::copy(&mut progress, &mut std::io::sink()));
        Self { loadgen }
    }

    pub(crate) fn own(&self) -> Pid {
        Pid::from_child(&self.loadgen)
    }

    pub(crate) fn server(&self) -> Pid {
        let id = self.loadgen.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        Pid::from_raw(children.trim().parse().expect("one child, the server")).unwrap()
    }

    /// The exit code and the only trial of the JSON.
    pub(crate) fn end(self) -> (i32, Value) {
        let output = self.loadgen.wait_with_output().unwrap();
        let json: Value =
            serde_json::from_slice(&output.stdout).expect("the JSON, whatever happened");
        (
            output.status.code().expect("it exits by itself"),
            json["trials"][0].clone(),
        )
    }
}

/// The binary, run by a shell's script with these arguments; the script's `"$0" "$@"` is loadgen and its load.
pub(crate) fn loadgen_by(script: &str, load: &str) -> Command {
    shell(script, program(), load)
}

/// The same whose servers can be told to do something wrong.
pub(crate) fn faulty_by(script: &str, load: &str) -> Command {
    shell(script, env!("CARGO_BIN_EXE_loadgen"), load)
}

fn shell(script: &str, program: &str, load: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, program])
        .args(load.split_whitespace())
        .stdin(Stdio::null());
    command
}

/// A process that is watched: what it says is read as it comes, and it is killed with the test.
pub(crate) struct Watched {
    pub(crate) child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<JoinThread<()>>,
}

impl Watched {
    /// Starts it, with standard error read from now on.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stderr = child.stderr.take().unwrap();
        let said = Arc::<Mutex<String>>::default();
        let heard = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut part) {
                heard
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&part[..n]));
            }
        });
        Self {
            child,
            said,
            reader: Some(reader),
        }
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said this.
    pub(crate) fn hears(&mut self, what: &str) {
        let said = Arc::clone(&self.said);
        within(PATIENCE, what, || {
            said.lock().unwrap().contains(what).then_some(())
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The server that it has started.
    pub(crate) fn server(&self) -> Pid {
        within(PATIENCE, "a server", || self.servers().first().copied())
    }

    /// The servers that it has started.
    pub(crate) fn servers(&self) -> Vec<Pid> {
        self.children("serve")
    }

    /// What it has started by this subcommand.
    pub(crate) fn children(&self, subcommand: &str) -> Vec<Pid> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let serves = |child: &&str| {
            let line = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            line.split('\0').any(|word| word == subcommand)
        };
        let children = children.unwrap_or_default();
        let servers = children.split_whitespace().filter(serves);
        servers
            .filter_map(|child| Pid::from_raw(child.parse().ok()?))
            .collect()
    }

    /// Waits until it has ended by itself: its exit code, and all that it said.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let child = &mut self.child;
        let status = within(PATIENCE, "its end", || child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            // A server that is left behind would hold the pipe open.
            within(PATIENCE, "the end of what it says", || {
                reader.is_finished().then_some(())
            });
        }
        (status.code(), self.said())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Anything that is waited for has come by then, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer; fails if it takes longer than this.
pub(crate) fn within<T>(time: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {time:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether there is a process of this number that has not ended.
pub(crate) fn is_alive(process: Pid) -> bool {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|state| state != "Z")
}

/// The checks of a trial that do not hold.
pub(crate) fn failing(trial: &Value) -> Vec<String> {
    let checks = trial["verdict"]["checks"]
        .as_array()
        .expect("every check is in the JSON");
    // What is unknown fails.
    let fails = |check: &&Value| {
        let limit = check["limit"].as_f64().expect("a number");
        check["measured"]
            .as_f64()
            .is_none_or(|measured| measured > limit)
    };
    checks
        .iter()
        .filter(fails)
        .map(|check| check["name"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn stop_for(process: Pid, time: Duration) {
    kill_process(process, Signal::STOP).unwrap();
    std::thread::sleep(time);
    kill_process(process, Signal::CONT).unwrap();
}
