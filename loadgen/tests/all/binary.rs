//! The binary from end to end, tiny: what it prints, what it writes, how it exits.

use std::process::{Command, Output, Stdio};

use loadgen::comparison::load;
use loadgen::result::comparison::{self, Comparison};
use loadgen::result::effect::Figure;
use loadgen::result::variant::Transport;

use crate::helper::{Folder, alone, beside, loadgen, loadgen_by, program};

fn run(arguments: &str) -> Output {
    loadgen(arguments).output().expect("loadgen starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// As documented.
const SCHEMA: &str = include_str!("../../schema.json");

const TINY: &str =
    "--clients 8 --room-size 4 --rate 20 --interval 50ms --warmup 100ms --duration 500ms";

fn assert_is_as_the_schema_says(json: &serde_json::Value) {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let wrong: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(json)
        .map(|error| error.to_string())
        .collect();
    assert!(
        wrong.is_empty(),
        "the JSON is as its schema says: {wrong:?}"
    );
}

fn assert_needs_nothing_but_itself(page: &str) {
    // Its links lead to the files beside it.
    let outside = [
        "src=",
        "href=\"http",
        "href=\"/",
        "url(",
        "@import",
        "<script",
    ];
    assert!(
        outside.iter().all(|way| !page.contains(way)),
        "the page needs nothing but itself"
    );
}

#[test]
fn compare_runs_every_transport_and_its_report_renders_again_from_the_json() {
    let _turn = beside();
    let folder = Folder::new("compare");
    let output = run(&format!(
        "compare {TINY} --whole-trials --blocks 2 --out {} --name tiny",
        folder.0.display()
    ));
    let (table, progress) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{table}{progress}");
    assert!(
        ["short-poll", "long-poll", "sse", "ws"]
            .iter()
            .all(|mode| table.contains(mode)),
        "{table}"
    );
    assert!(table.contains("0 / 0 / 0"), "{table}");

    let result = std::fs::read_dir(&folder.0)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(
        progress.contains(&result.join("comparison.html").display().to_string()),
        "says where the report is: {progress}"
    );
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(result.join("comparison.json")).unwrap()).unwrap();
    for trial in json["trials"].as_array().unwrap() {
        let outcome = &trial["outcome"];
        assert_eq!(outcome["audit"]["expected"], outcome["audit"]["received"]);
        assert_eq!(outcome["expected"], outcome["delivered"]);
        assert!(outcome["expected"].as_u64().unwrap() > 0, "{outcome}");
    }

    assert_eq!(
        json["trials"].as_array().unwrap().len(),
        2 * Transport::usual().count(),
        "each transport once in each block"
    );
    assert_is_as_the_schema_says(&json);

    let reports = [
        "comparison.md",
        "comparison.html",
        "latency.hlog",
        "seconds.csv",
        "latency.svg",
        "cpu.svg",
        "memory.svg",
    ];
    let read = || reports.map(|name| std::fs::read_to_string(result.join(name)).unwrap());
    let before = read();
    reports
        .iter()
        .for_each(|name| std::fs::remove_file(result.join(name)).unwrap());
    let again = run(&format!("report {}", result.display()));
    assert_eq!((again.status.code(), text(&again.stdout)), (Some(0), table));
    assert!(read() == before, "the same reports, from the JSON alone");
    assert_needs_nothing_but_itself(&before[1]);
}

#[test]
fn the_schema_that_is_documented_is_the_schema_of_this_version() {
    let printed = text(&run("schema").stdout);
    // As JSON: in which order it prints a field depends on what else is built with it.
    let [now, documented] = [printed.as_str(), SCHEMA]
        .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert!(
        now == documented,
        "write it anew: loadgen schema > loadgen/schema.json"
    );
    assert!(printed.contains(&format!("comparison-{}.json", comparison::SCHEMA)));
    assert!(
        Comparison::json_schema()["properties"]["trials"]["description"].is_string(),
        "every field is explained"
    );
}

#[test]
fn a_tenth_of_a_standard_comparison_has_control_and_says_nothing_it_cannot_say() {
    let _turn = beside();
    let folder = Folder::new("control");
    let tiny = "--clients 8 --room-size 4 --rate 20 --warmup 100ms --duration 300ms --mode ws --publish native";
    let output = run(&format!(
        "compare {tiny} --whole-trials --blocks 8 --out {}",
        folder.0.display()
    ));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(
        table.contains("ws, A/A control") && table.contains("ws-native"),
        "{table}"
    );
    let said = text(&output.stderr);
    assert!(said.contains("24 trials, about"), "{said}");
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("trial ") && line.contains("measuring"))
        .collect();
    assert!(
        (1..=24).all(|n| told
            .iter()
            .any(|line| line.starts_with(&format!("trial {n} of 24, ws")))),
        "{said}"
    );
    assert!(
        told.iter()
            .any(|line| line.contains(", ws, A/A control (0:") && line.contains(" left): ")),
        "{said}"
    );
    let result = std::fs::read_dir(&folder.0)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let comparison = load(&result).unwrap();
    let control = |block| {
        comparison
            .trials
            .iter()
            .filter(|trial| trial.control && trial.block == block)
            .count()
    };
    assert!(
        (1..=8).all(|block| control(block) == 1),
        "one in each block"
    );
    for effect in &comparison.effects {
        let is_judged = matches!(effect.figure, Figure::P50 | Figure::Cpu)
            && !effect.control
            && effect.ratio.blocks == 8;
        // Trials that are not valid leave too few blocks for a word.
        assert!(is_judged || effect.difference.is_none(), "{effect:?}");
    }
}

#[test]
fn a_set_has_all_its_servers_at_once_and_each_has_its_slices_of_the_same_load() {
    let _turn = beside();
    let folder = Folder::new("sets");
    let tiny = "--clients 8 --room-size 4 --rate 20 --interval 200ms --mode short-poll,sse,ws";
    let output = run(&format!(
        "compare {tiny} --sets 2 --duration 2s --out {}",
        folder.0.display()
    ));
    let (table, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{table}{said}");
    assert!(said.contains("Sets of 4 servers at once, about "), "{said}");
    assert!(said.contains("2 of them: about "), "{said}");
    assert!(
        said.contains("set 2 (") && said.contains(" left): "),
        "{said}"
    );
    assert!(
        table.contains("These are too few for an interval"),
        "{table}"
    );
    let result = std::fs::read_dir(&folder.0).unwrap().next().unwrap();
    let result = result.unwrap().path();
    let comparison = load(&result).unwrap();
    assert_eq!((comparison.blocks, comparison.rounds), (2, Some(2)));
    let rows: Vec<(usize, String)> = comparison
        .trials
        .iter()
        .map(|trial| (trial.block, trial.name()))
        .collect();
    for set in [1, 2] {
        for name in ["short-poll", "sse", "ws", "ws, A/A control"] {
            let is_it = |row: &&(usize, String)| row.0 == set && row.1 == name;
            assert_eq!(rows.iter().filter(is_it).count(), 1, "{rows:?}");
        }
        let of_set = comparison.trials.iter().filter(|trial| trial.block == set);
        // Streams have the same schedule, message by message.
        let scheduled: std::collections::BTreeSet<u64> = of_set
            .filter(|trial| trial.outcome.variant.mode != Transport::ShortPoll)
            .map(|trial| trial.outcome.publishing.scheduled)
            .collect();
        assert_eq!(scheduled.len(), 1, "{scheduled:?}");
    }
    for trial in &comparison.trials {
        let outcome = &trial.outcome;
        assert!(
            outcome.failure().is_none() && !outcome.misses(),
            "{outcome:?}"
        );
        assert_eq!(outcome.audit.expected, outcome.audit.received);
        let seconds = match outcome.variant.mode {
            Transport::ShortPoll => 1.0,
            _ => 2.0,
        };
        assert_eq!(outcome.window_seconds, Some(seconds), "{}", trial.name());
        assert!(
            (outcome.usage.seconds - seconds).abs() < 0.5,
            "{}",
            outcome.usage.seconds
        );
    }
    let again = run(&format!("report {}", result.display()));
    assert_eq!((again.status.code(), text(&again.stdout)), (Some(0), table));

    // It is gone on with, by its own seed.
    let more = run(&format!("compare --resume {} --sets 3", result.display()));
    assert_eq!(more.status.code(), Some(0), "{}", text(&more.stderr));
    let longer = load(&result).unwrap();
    assert_eq!((longer.blocks, longer.trials.len()), (3, 12));
    assert_eq!(longer.scenario, comparison.scenario);
    for flag in ["--seed 1", "--clients 9", "--whole-trials"] {
        let refused = run(&format!("compare --resume {} {flag}", result.display()));
        assert_eq!(refused.status.code(), Some(2), "{flag}");
    }
}

#[test]
fn the_ordinary_server_delivers_everything_too() {
    let _turn = beside();
    let output = run(&format!("--mode ws-stock {TINY} --json --quiet"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let comparison: Comparison = serde_json::from_slice(&output.stdout).unwrap();
    let outcome = &comparison.trials[0].outcome;
    assert!(
        outcome.expected > 0 && outcome.delivered == outcome.expected && outcome.audit.is_clean(),
        "{outcome:?}"
    );
}

#[test]
fn selftest_says_in_a_line_each_what_this_machine_may_be_trusted_with() {
    let _turn = alone();
    let output = run("selftest --quiet");
    let said = text(&output.stdout);
    let topics: Vec<&str> = said
        .lines()
        .filter_map(|line| line.get(5..)?.split_whitespace().next())
        .collect();
    let all = [
        "clock", "timers", "cores", "clients", "audit", "polling", "socket", "pauses", "cpu",
        "apart", "rate", "rate",
    ];
    assert_eq!(topics[..all.len()], all, "{said}");
    assert!(
        said.contains("ok   audit") && said.contains("never goes back"),
        "not for the machine to decide: {said}"
    );
    assert_eq!(
        output.status.code(),
        Some(i32::from(said.contains("BAD "))),
        "{said}"
    );
}

#[test]
fn what_a_person_typed_is_text_in_the_page() {
    let _turn = beside();
    let folder = Folder::new("hostile");
    let out = folder.0.join("<script>alert(1)</script>");
    let mut command = loadgen(&format!(
        "compare --mode ws {TINY} --whole-trials --blocks 1 --quiet --out"
    ));
    assert_eq!(command.arg(&out).output().unwrap().status.code(), Some(0));
    let result = std::fs::read_dir(&out)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let page = std::fs::read_to_string(result.join("comparison.html")).unwrap();
    assert!(
        page.contains("&#60;script&#62;") && !page.contains("<script"),
        "the command is escaped"
    );
}

#[test]
fn the_command_that_a_report_prints_gives_the_same_comparison_again() {
    let _turn = beside();
    let folder = Folder::new("repeated");
    let first = "it's \"the\" $HOME first";
    let mut command = loadgen(&format!(
        "compare --mode ws,sse {TINY} --whole-trials --blocks 1 --quiet --out"
    ));
    command
        .arg(folder.0.join(first))
        .args(["--server-flags", "--heartbeat 21s"]);
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    let read = |out: &str| -> serde_json::Value {
        let result = std::fs::read_dir(folder.0.join(out))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        serde_json::from_slice(&std::fs::read(result.join("comparison.json")).unwrap()).unwrap()
    };
    let printed = read(first);
    let command = printed["command"].as_str().unwrap();
    let arguments = command.strip_prefix("loadgen ").expect("the program first");
    let script = format!("exec \"$0\" {}", arguments.replace("first", "again"));
    assert_eq!(
        loadgen_by(&script, "").output().unwrap().status.code(),
        Some(0),
        "{script}"
    );
    let again = read(&first.replace("first", "again"));
    assert_eq!(
        again["command"].as_str().unwrap().replace("again", "first"),
        command
    );
    for what in ["scenario", "variants"] {
        assert_eq!(again[what], printed[what], "{what} of {command}");
    }
}

#[test]
fn a_run_needs_no_server_and_its_json_is_alone_on_standard_output() {
    let _turn = beside();
    let output = run(&format!("--mode ws {TINY} --json --quiet"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "--quiet is quiet");
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(json["trials"][0]["outcome"]["mode"], "ws");
    assert_eq!(json["scenario"]["clients"], 8);
}

#[test]
fn mistakes_are_one_clear_line_and_exit_with_2() {
    let _turn = beside();
    for (arguments, says) in [
        ("--mode carrier-pigeon", "[possible values: short-poll, "),
        ("--mode ws compare", "loadgen: compare comes first"),
        (
            "--mode ws --clients 0",
            "'--clients <N>': must be a whole number from 1 to 1000000",
        ),
        (
            "--mode ws --rate 1e-12",
            "'--rate <R>': must be a number from 0.001",
        ),
        (
            "--mode ws --duration 18446744073709551615s",
            "'--duration <TIME>': must be a time from 1ms to 1day",
        ),
        (
            "--mode ws --publishers 18446744073709551615",
            "'--publishers <N>': must be a whole number from 1 to 10000",
        ),
        (
            "--mode ws --clients 2 --publishers 9000",
            "--publishers 9000: this process may open",
        ),
        (
            "--mode ws --url http://127.0.0.1:1",
            "nothing answers there",
        ),
        ("--mode ws --url ftp://127.0.0.1", "only http://HOST:PORT"),
        ("--mode ws --url http://192.0.2.1:3000", "--allow-remote"),
        (
            "--mode ws --url http://me:secret@127.0.0.1:1",
            "no name or password is sent",
        ),
        (
            "--mode ws --server-flags '--host \"127.0.0.1'",
            "'--server-flags <FLAGS>': a quotation mark is not closed",
        ),
        (
            "--mode ws --clients 100000",
            "--clients 100000: this process may open",
        ),
        ("compare --name ../up", "only letters"),
        ("report /nowhere", "cannot read"),
        ("", "Usage"),
        ("--clients 5", "--mode"),
    ] {
        // Whatever this machine allows, a hundred thousand are more.
        let mut limited = Command::new("sh");
        limited.args([
            "-c",
            &format!("ulimit -n 4096 && exec \"$0\" {arguments}"),
            program(),
        ]);
        let output = limited.stdin(Stdio::null()).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {message}");
        assert!(message.contains(says), "{arguments}: {message}");
        assert!(
            !message.contains("panicked") && !message.contains("stack backtrace"),
            "{arguments}: {message}"
        );
        assert!(
            !message.contains("secret"),
            "a password is not told: {message}"
        );
    }
}

#[test]
fn what_a_run_cannot_tell_is_said_before_it() {
    let _turn = beside();
    for (arguments, one_core, says) in [
        (
            "--mode sse",
            true,
            "Caution: there is one core for both sides",
        ),
        (
            "--mode sse --no-keep-alive",
            false,
            "Caution: --no-keep-alive is about polls",
        ),
        ("--mode short-poll --no-keep-alive", false, ""),
    ] {
        let all = loadgen::cores::available();
        let cores: Vec<String> = all
            .iter()
            .take(if one_core { 1 } else { 2 })
            .map(usize::to_string)
            .collect();
        let script = format!(r#"exec taskset --cpu-list {} "$0" "$@""#, cores.join(","));
        let output = loadgen_by(&script, &format!("{arguments} {TINY}"))
            .output()
            .unwrap();
        let said = text(&output.stderr);
        assert_eq!(
            said.contains("Caution"),
            !says.is_empty(),
            "{arguments}: {said}"
        );
        let (before, _) = said.split_once("connecting").expect("it runs");
        assert!(before.contains(says), "{arguments}: {said}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_said_and_a_reader_that_has_seen_enough_is_not() {
    let _turn = beside();
    let result = Folder::new("full");
    let arguments = format!("--mode ws {TINY} --quiet --out {}", result.0.display());
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = loadgen(&arguments)
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr).lines().count(),
        1,
        "{}",
        text(&output.stderr)
    );
    assert!(
        text(&output.stderr).contains("standard output"),
        "{}",
        text(&output.stderr)
    );

    let mut reader = loadgen(&format!("report {}", result.0.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(reader.stdout.take());
    assert_eq!(reader.wait().unwrap().code(), Some(0));
}

#[test]
fn something_else_that_speaks_http_is_recognised_as_foreign() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let output = run(&format!("--mode ws --url {url}"));
    answer.join().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("is not a server of this workbench"),
        "{}",
        text(&output.stderr)
    );
}
