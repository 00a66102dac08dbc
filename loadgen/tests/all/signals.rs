//! What signals do: the run ends in order with what it has, a second one ends it at once, and no server is left behind.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use loadgen::comparison::load;
use loadgen::result::outcome::End;
use rustix::process::{Pid, Signal};

use crate::helper::{Folder, Watched, beside, faulty_by, is_alive, loadgen_by, program, within};

/// Longer than the test takes.
const LOAD: &str = "-m ws -c 4 --room-size 4 --rate 20 --warmup 100ms -z 60s";
/// Ends by itself, soon.
const TINY: &str = "-m ws -c 2 --room-size 2 --rate 20 --warmup 100ms -z 500ms";
/// "At once", beside a busy neighbour: every deadline that could end the wait otherwise is longer.
const AT_ONCE: Duration = Duration::from_millis(2500);

/// The signals are as they are after a login, whatever the tests themselves were started with.
const PLAIN: &str = r#"exec env --default-signal=INT,TERM,HUP "$0" "$@""#;

/// A run under way that has measured something.
fn measuring(load: &str) -> Watched {
    under_way(loadgen_by(PLAIN, load))
}

fn under_way(mut command: Command) -> Watched {
    command.stdout(Stdio::null());
    let mut running = Watched::start(command);
    running.hears("measuring");
    std::thread::sleep(Duration::from_secs(1));
    running
}

fn has_ended(process: Pid) {
    within(Duration::from_secs(20), "the server's end", || {
        (!is_alive(process)).then_some(())
    });
}

#[test]
fn each_signal_ends_a_run_with_what_it_has_measured() {
    let _turn = beside();
    let result = Folder::new("signals");
    let runs = [
        (Signal::INT, 130, "SIGINT"),
        (Signal::TERM, 143, "SIGTERM"),
        (Signal::HUP, 129, "SIGHUP"),
    ];
    let runs = runs.map(|(signal, code, name)| {
        let folder = result.0.join(name);
        let run = match signal {
            Signal::INT => format!("{LOAD} --out {}", folder.display()),
            _ => format!(
                "compare {LOAD} --whole-trials --blocks 2 --out {}",
                folder.display()
            ),
        };
        std::thread::spawn(move || {
            let mut running = measuring(&run);
            let server = running.server();
            let asked = Instant::now();
            running.signal(signal);
            running.hears(name);
            let (known, said) = (asked.elapsed(), running.said());
            assert!(known < AT_ONCE, "acknowledged after {known:?}");
            assert!(
                said.contains("what was measured is kept") && said.contains("a second one"),
                "{said}"
            );
            assert_eq!(running.end().0, Some(code), "{}", running.said());
            assert!(!is_alive(server), "no server is left behind");
            let folder = if folder.join("comparison.json").exists() {
                folder
            } else {
                only(&folder)
            };
            assert!(
                running.said().contains("The report is in"),
                "{}",
                running.said()
            );
            let comparison = load(&folder).unwrap();
            let outcome = &comparison.trials[0].outcome;
            assert_eq!(
                (comparison.trials.len(), &outcome.end),
                (1, &End::Interrupted)
            );
            assert!(
                outcome.delivered > 0 && outcome.audit.is_clean(),
                "{outcome:?}"
            );
            assert!(folder.join("comparison.html").exists());
        })
    });
    for run in runs {
        run.join().unwrap();
    }
}

fn only(folder: &Path) -> std::path::PathBuf {
    fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
}

#[test]
fn a_second_signal_of_any_kind_ends_it_at_once_and_its_server_too() {
    let _turn = beside();
    // After the first signal there is a wait for what has not arrived yet; here something never does.
    let mut running = under_way(faulty_by(
        PLAIN,
        &format!("{LOAD} --server-flags --fault-drop=1"),
    ));
    let server = running.server();
    running.signal(Signal::HUP);
    running.hears("SIGHUP");
    // What comes at once after the first is the same wish.
    std::thread::sleep(Duration::from_millis(400));
    let asked = Instant::now();
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(143), "{}", running.said());
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    has_ended(server);
}

#[test]
fn a_terminal_that_is_closed_ends_a_run_with_what_it_has_measured() {
    let _turn = beside();
    let result = Folder::new("closed");
    let out = result.0.join("out");
    let inner = format!(
        "exec env --default-signal=HUP {} {LOAD} --out {}",
        program(),
        out.display()
    );
    let mut terminal = Command::new("script");
    terminal
        .args(["-qefc", &inner, "/dev/null"])
        .stdin(Stdio::null());
    // What the terminal shows is read as if it were standard error.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"exec "$0" "$@" >&2"#])
        .arg(terminal.get_program())
        .args(terminal.get_args());
    let mut running = Watched::start(shell);
    running.hears("measuring");
    std::thread::sleep(Duration::from_secs(1));
    running.signal(Signal::KILL);
    within(Duration::from_secs(60), "the report", || {
        out.join("memory.svg").exists().then_some(())
    });
    let comparison = load(&out).unwrap();
    let outcome = &comparison.trials[0].outcome;
    assert!(
        outcome.end == End::Interrupted && outcome.delivered > 0,
        "{outcome:?}"
    );
}

#[test]
fn a_server_does_not_outlive_a_loadgen_that_is_killed() {
    let _turn = beside();
    let running = measuring(LOAD);
    let server = running.server();
    running.signal(Signal::KILL);
    has_ended(server);
}

#[test]
fn servers_of_a_set_do_nothing_until_it_is_their_turn_and_do_not_outlive_a_loadgen_that_is_killed()
{
    let _turn = beside();
    let folder = Folder::new("killed");
    let load = format!(
        "compare -m ws,sse -c 4 --room-size 4 --rate 20 -z 60s --out {}",
        folder.0.display()
    );
    let mut command = loadgen_by(PLAIN, &load);
    command.stdout(Stdio::null());
    let mut running = Watched::start(command);
    running.hears("in turns");
    let is_stopped = |server: &Pid| {
        let path = format!("/proc/{}/stat", server.as_raw_nonzero());
        fs::read_to_string(path).is_ok_and(|stat| stat.contains(") T "))
    };
    let servers = within(
        Duration::from_secs(20),
        "two of three servers stopped",
        || {
            let all = running.servers();
            let stopped = all.iter().filter(|server| is_stopped(server)).count();
            (all.len() == 3 && stopped == 2).then_some(all)
        },
    );
    running.signal(Signal::KILL);
    servers.into_iter().for_each(has_ended);
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let _turn = beside();
    let ignoring = r#"exec env --default-signal=INT,TERM --ignore-signal=HUP "$0" "$@""#;
    let mut command = loadgen_by(
        ignoring,
        "-m ws -c 2 --room-size 2 --rate 20 --warmup 100ms -z 1500ms",
    );
    command.stdout(Stdio::null());
    let mut running = Watched::start(command);
    running.hears("measuring");
    running.signal(Signal::HUP);
    running.signal(Signal::HUP);
    assert_eq!(running.end().0, Some(0), "{}", running.said());
    assert!(!running.said().contains("SIGHUP"), "{}", running.said());
}

/// Runs loadgen so that the servers it starts are this script, which has the real program as `$LOADGEN`.
///
/// loadgen starts itself again as the server, by the path of its program. Here that is a copy which was removed once it
/// was opened, and Linux has ` (deleted)` in its path: the name of the script.
fn with_server(folder: &Folder, script: &str, load: &str) -> Command {
    let copy = folder.0.join("program");
    fs::copy(program(), &copy).unwrap();
    let server = folder.0.join("program (deleted)");
    fs::write(&server, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    let start = r#"p=$1; shift; exec 9<"$p"; rm "$p"; exec env --default-signal=INT,TERM,HUP /proc/self/fd/9 "$@""#;
    let mut command = Command::new("sh");
    command
        .args(["-c", start, "sh"])
        .arg(&copy)
        .args(load.split_whitespace());
    command
        .env("LOADGEN", program())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

#[test]
fn while_a_server_starts_and_never_says_where_it_listens_a_signal_ends_it() {
    let _turn = beside();
    let result = Folder::new("never");
    let out = result.0.join("out/of");
    let script = format!(
        r#"mkfifo "{0}/never"; read line <>"{0}/never""#,
        result.0.display()
    );
    let mut running = Watched::start(with_server(
        &result,
        &script,
        &format!("{TINY} --out {}", out.display()),
    ));
    let server = running.server();
    let asked = Instant::now();
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(143), "{}", running.said());
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert!(running.said().contains("SIGTERM"), "{}", running.said());
    has_ended(server);
    assert!(
        !out.parent().unwrap().exists(),
        "nothing was measured, and no folder is left"
    );
}

#[test]
fn while_a_server_does_not_stop_a_signal_ends_the_wait_and_what_was_measured_is_whole() {
    let _turn = beside();
    let result = Folder::new("stays");
    let out = result.0.join("out");
    // Its standard input never ends, so it does not see that it is to leave.
    let script = format!(
        r#"mkfifo "{0}/never"; exec "$LOADGEN" "$@" <>"{0}/never""#,
        result.0.display()
    );
    let mut running = Watched::start(with_server(
        &result,
        &script,
        &format!("{TINY} --out {}", out.display()),
    ));
    running.hears("measuring");
    let server = running.server();
    running.hears("waiting for the server to end");
    let asked = Instant::now();
    running.signal(Signal::INT);
    assert_eq!(running.end().0, Some(130), "{}", running.said());
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    has_ended(server);
    assert_eq!(load(&out).unwrap().trials[0].outcome.end, End::Completed);
}

#[test]
fn a_lookup_that_gets_no_answer_and_a_selftest_and_a_table_that_nobody_reads_can_be_ended() {
    let _turn = beside();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let lookup = format!("-m ws --url http://{}", listener.local_addr().unwrap());
    let mut running = Watched::start(loadgen_by(PLAIN, &lookup));
    // Connected, and waiting for an answer.
    let _connection = listener.accept().unwrap();
    let asked = Instant::now();
    running.signal(Signal::INT);
    assert_eq!(running.end().0, Some(130), "{}", running.said());
    assert!(
        asked.elapsed() < AT_ONCE && running.said().contains("SIGINT"),
        "{}",
        running.said()
    );

    let mut command = loadgen_by(PLAIN, "selftest");
    command.stdout(Stdio::null());
    let mut running = Watched::start(command);
    running.hears("known answer of polling");
    let server = running.server();
    running.signal(Signal::HUP);
    assert_eq!(running.end().0, Some(129), "{}", running.said());
    has_ended(server);

    let (unread, writer) = std::io::pipe().unwrap();
    let mut command = loadgen_by(PLAIN, &format!("{TINY} --json"));
    // A page of pipe is full after a part of it.
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    command.stdout(writer);
    let mut running = Watched::start(command);
    within(Duration::from_secs(60), "a full pipe", || {
        rustix::io::ioctl_fionread(&unread)
            .is_ok_and(|bytes| bytes >= 4096)
            .then_some(())
    });
    running.signal(Signal::TERM);
    running.hears("SIGTERM");
    std::thread::sleep(Duration::from_millis(400));
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(143), "{}", running.said());
}
