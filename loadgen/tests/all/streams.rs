//! What a program may meet on the streams it writes to: a reader that goes, one that does not read, a full device, a
//! closed descriptor, every kind of terminal. None of it ends or delays a measurement.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::process::{Command, Stdio};
use std::time::Duration;

use loadgen::comparison::load;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;

use crate::helper::{Folder, Watched, beside, loadgen, loadgen_by, program, within};

/// As small as a trial can be.
const TINY: &str = "--mode ws -c 2 --room-size 2 --rate 20 --warmup 100ms -z 500ms";
/// Longer than any of this takes, also beside a busy neighbour.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pipe that takes nothing more, and whose reader does not read; whether writers are told so or wait.
fn full_pipe(nonblocking: bool) -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    for part in [vec![b'.'; 4096], vec![b'.']] {
        while writer.write(&part).is_ok() {}
    }
    if !nonblocking {
        fcntl_setfl(&writer, flags).unwrap();
    }
    (reader, writer)
}

fn full_device() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe without a reader.
fn deaf_pipe() -> PipeWriter {
    pipe().unwrap().1
}

/// Ends it within the time: its exit code and what it wrote on standard output.
fn end(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // The command holds the streams that were given to it.
    drop(command);
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        within(PATIENCE, "its end", || child.try_wait().unwrap())
    }));
    let Ok(status) = status else {
        child.kill().unwrap();
        panic!("it did not end");
    };
    (status.code(), reader.join().unwrap())
}

#[test]
fn standard_error_that_cannot_be_written_neither_ends_nor_delays_a_measurement() {
    let _turn = beside();
    let result = Folder::new("deaf");
    let (_unread, full) = full_pipe(false);
    let (_unread_too, full_and_told) = full_pipe(true);
    let streams: [(&str, Stdio); 4] = [
        ("gone", deaf_pipe().into()),
        ("full", full.into()),
        ("nonblocking", full_and_told.into()),
        ("device", full_device().into()),
    ];
    let closed = ("closed", loadgen_by(r#"exec "$0" "$@" 2>&-"#, TINY));
    let others = streams.map(|(name, stream)| {
        let mut command = loadgen(TINY);
        command.stderr(stream);
        (name, command)
    });
    let all = others
        .into_iter()
        .chain([closed])
        .map(|(name, mut command)| {
            let folder = result.0.join(name);
            command.arg("--out").arg(&folder);
            (name, std::thread::spawn(move || (end(command), folder)))
        });
    for (name, running) in all.collect::<Vec<_>>() {
        let ((code, table), folder) = running.join().unwrap_or_else(|_| panic!("{name}: no end"));
        assert_eq!(code, Some(0), "{name}: {table}");
        assert!(table.contains("delivered of expected"), "{name}: {table}");
        assert_eq!(load(&folder).unwrap().trials.len(), 1, "{name}");
    }
}

#[test]
fn mistakes_are_told_by_the_exit_code_where_nobody_can_be_told_in_words() {
    let _turn = beside();
    for arguments in [
        "--bogus",
        "--mode ws --clients 10000000",
        "report /nowhere",
        "--mode ws --url http://127.0.0.1:1",
    ] {
        let (_unread, full) = full_pipe(false);
        let streams: [(&str, Stdio); 3] = [
            ("gone", deaf_pipe().into()),
            ("device", full_device().into()),
            ("full", full.into()),
        ];
        for (name, stream) in streams {
            let mut command = loadgen(arguments);
            command.stderr(stream);
            assert_eq!(end(command).0, Some(2), "{arguments}, {name}");
        }
    }
}

#[test]
fn whatever_is_printed_is_said_to_be_lost_where_the_device_is_full() {
    let _turn = beside();
    let result = Folder::new("printed");
    let out = result.0.join("of a run");
    let run = || {
        let mut command = loadgen(&format!("{TINY} --out"));
        command.arg(&out);
        command
    };
    let report = || {
        let mut command = loadgen("report");
        command.arg(&out);
        command
    };
    for (name, mut command) in [
        ("run", run()),
        ("report", report()),
        ("schema", loadgen("schema")),
        ("--help", loadgen("--help")),
        ("compare --help", loadgen("compare --help")),
        ("--version", loadgen("--version")),
    ] {
        let output = command.stdout(full_device()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(
            said.contains("standard output: No space left on device"),
            "{name}: {said}"
        );
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
    load(&out).expect("the files are kept");

    let mut selftest = loadgen("selftest");
    selftest.stdout(full_device());
    let mut selftest = Watched::start(selftest);
    // It has printed the first of its findings by then.
    selftest.hears("known answer of polling");
    selftest.signal(Signal::TERM);
    let (code, said) = selftest.end();
    assert_eq!(code, Some(143), "{said}");
    assert!(
        said.contains("standard output: No space left on device"),
        "{said}"
    );
}

#[test]
fn the_table_waits_for_its_reader_and_arrives_whole() {
    let _turn = beside();
    let result = Folder::new("patient");
    let out = result.0.join("result");
    for nonblocking in [false, true] {
        let (mut reader, writer) = full_pipe(nonblocking);
        let mut command = loadgen(&match nonblocking {
            false => format!("{TINY} --out {}", out.display()),
            true => format!("report {}", out.display()),
        });
        command.stdout(writer);
        let mut running = Watched::start(command);
        // With the files there is nothing left to do but to print.
        match nonblocking {
            false => within(PATIENCE, "the report", || {
                out.join("memory.svg").exists().then_some(())
            }),
            true => running.hears("The report is in"),
        }
        assert!(
            running.child.try_wait().unwrap().is_none(),
            "it waits: {}",
            running.said()
        );
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(running.end().0, Some(0));
        let said = text.trim_start_matches('.');
        assert!(
            said.starts_with("Every message") && said.contains("\n| verdict on the measurement "),
            "{said}"
        );
        assert!(said.ends_with(".\n"), "to its end: {said}");
    }
}

/// What remains visible of the lines that a terminal was sent.
fn shown(sent: &str) -> Vec<String> {
    let visible = |line: &str| {
        line.rsplit("\r\u{1b}[K")
            .next()
            .unwrap()
            .trim_end()
            .to_owned()
    };
    sent.lines()
        .map(|line| visible(line.trim_end_matches('\r')))
        .collect()
}

#[test]
fn every_kind_of_terminal_gets_the_lines_that_a_pipe_gets() {
    let _turn = beside();
    let piped = loadgen(TINY).output().unwrap();
    let piped = String::from_utf8(piped.stderr).unwrap();
    // What is measured differs from run to run, what is said of it does not.
    let begins = |line: &str| line.split([',', '.']).next().unwrap().to_owned();
    // There is only something to say of the drain where it takes a while.
    let expected: Vec<String> = piped
        .lines()
        .filter(|line| !line.contains("drain"))
        .map(begins)
        .collect();
    assert!(
        ["connecting", "warm-up", "measuring"]
            .iter()
            .all(|phase| piped.contains(phase)),
        "{piped}"
    );
    let running = [
        ("a usual one", "stty rows 24 cols 80; TERM=xterm"),
        ("a narrow one", "stty rows 24 cols 20; TERM=xterm"),
        ("one without a width", "stty rows 0 cols 0; TERM=xterm"),
        ("a dumb one", "stty cols 80; TERM=dumb"),
        ("one of an unknown kind", "stty cols 80; env -u TERM"),
    ]
    .map(|(name, kind)| {
        let inner = format!("{kind} {} {TINY}", program());
        let mut command = Command::new("script");
        command
            .args(["-qec", &inner, "/dev/null"])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        (name, std::thread::spawn(move || end(command)))
    });
    for (name, running) in running {
        let (code, sent) = running.join().unwrap();
        let shown = shown(&sent);
        assert_eq!(code, Some(0), "{name}: {sent}");
        let mut lines = shown.iter().map(|line| begins(line));
        for line in &expected {
            assert!(
                lines.any(|shown| shown == *line),
                "{name}: not in this order: {line}\n{sent:?}"
            );
        }
        // The narrow one has the rest of its name on a line below.
        let is_table = shown.iter().any(|line| line.contains("delivered of"));
        assert!(is_table, "{name}: {sent:?}");
        if name.contains("dumb") || name.contains("unknown") {
            assert!(
                !sent.contains('\u{1b}'),
                "{name} knows no escapes: {sent:?}"
            );
        }
    }
}
