//! Where results go: never into another's folder, never over what is there, and never said to be where they are not.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Barrier, LazyLock};
use std::time::Duration;

use loadgen::comparison::load;
use loadgen::result::comparison::Comparison;
use loadgen::result::files;

use crate::helper::{Folder, Watched, beside, loadgen, program, within};

/// As small as a trial can be.
const TINY: &str = "--mode ws -c 2 --room-size 2 --rate 20 --warmup 100ms -z 500ms";
/// Every file that a result may have.
static FILES: LazyLock<Vec<&str>> =
    LazyLock::new(|| files::FILES.iter().map(|file| file.name).collect());

/// loadgen with these arguments and, last, a path.
fn with_path(arguments: &str, path: impl AsRef<OsStr>) -> Command {
    let mut command = loadgen(arguments);
    command.arg(path);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// Runs them all at the same time.
fn at_once(commands: Vec<Command>) -> Vec<Output> {
    let ready = Barrier::new(commands.len());
    std::thread::scope(|scope| {
        let run = |mut command: Command| {
            let ready = &ready;
            scope.spawn(move || {
                ready.wait();
                command.output().unwrap()
            })
        };
        let running: Vec<_> = commands.into_iter().map(run).collect();
        running
            .into_iter()
            .map(|running| running.join().unwrap())
            .collect()
    })
}

#[test]
fn comparisons_that_begin_together_have_a_folder_each() {
    let _turn = beside();
    let result = Folder::new("together");
    let compare = |seed| {
        with_path(
            &format!("compare {TINY} --whole-trials --blocks 1 --name same --seed {seed} --out"),
            &result.0,
        )
    };
    let outputs = at_once((1..=4).map(compare).collect());
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0), "{}", said(output));
    }
    let folders = names(&result.0);
    assert_eq!(folders.len(), 4, "{folders:?}");
    let seed = |folder: &String| {
        let folder = result.0.join(folder);
        let comparison = load(&folder).unwrap();
        let markdown = fs::read_to_string(folder.join("comparison.md")).unwrap();
        assert!(
            markdown.contains(&comparison.command),
            "one comparison's JSON and Markdown: {markdown}"
        );
        let told = outputs.iter().filter(|output| {
            said(output).contains(folder.join("comparison.html").to_str().unwrap())
        });
        assert_eq!(told.count(), 1, "each says which folder is its own");
        comparison.scenario.seed()
    };
    let mut seeds: Vec<u64> = folders.iter().map(seed).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [1, 2, 3, 4]);
}

#[test]
fn of_runs_that_begin_together_in_one_folder_all_but_one_are_refused() {
    let _turn = beside();
    let result = Folder::new("one");
    for (name, exists) in [("new", false), ("empty", true)] {
        let out = result.0.join(name);
        if exists {
            fs::create_dir(&out).unwrap();
        }
        let run = |seed| with_path(&format!("{TINY} --seed {seed} --out"), &out);
        let outputs = at_once((1..=3).map(run).collect());
        let (done, refused): (Vec<&Output>, Vec<&Output>) = outputs
            .iter()
            .partition(|output| output.status.code() == Some(0));
        assert_eq!(
            done.len(),
            1,
            "{name}: {:?}",
            outputs.iter().map(said).collect::<Vec<_>>()
        );
        for output in refused {
            assert_eq!(output.status.code(), Some(2), "{name}: {}", said(output));
            assert!(
                said(output).contains("--out") && output.stdout.is_empty(),
                "{name}: {}",
                said(output)
            );
            assert!(
                !said(output).contains("connecting"),
                "before the load: {}",
                said(output)
            );
        }
        load(&out).unwrap();
    }
}

#[test]
fn none_of_the_files_that_would_be_written_may_be_there_and_others_are_left_alone() {
    let _turn = beside();
    for name in FILES.iter().copied() {
        let result = Folder::new(&format!("mine-{name}"));
        fs::write(result.0.join(name), "mine").unwrap();
        let output = with_path(&format!("{TINY} --out"), &result.0)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", said(&output));
        assert!(
            said(&output).contains(name) && !said(&output).contains("connecting"),
            "{name}: {}",
            said(&output)
        );
        assert_eq!(fs::read_to_string(result.0.join(name)).unwrap(), "mine");
        assert_eq!(names(&result.0), [name], "and nothing else is made");
    }
    let result = Folder::new("others");
    symlink("/nowhere/at/all", result.0.join("seconds.csv")).unwrap();
    let output = with_path(&format!("{TINY} --out"), &result.0)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "a link that leads nowhere is there: {}",
        said(&output)
    );
    fs::remove_file(result.0.join("seconds.csv")).unwrap();
    fs::write(result.0.join("notes.md"), "mine").unwrap();
    let output = with_path(&format!("{TINY} --out"), &result.0)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(
        fs::read_to_string(result.0.join("notes.md")).unwrap(),
        "mine"
    );
    assert!(
        names(&result.0)
            .iter()
            .all(|name| name == "notes.md" || FILES.contains(&name.as_str()))
    );
}

#[test]
fn what_comes_into_being_during_the_run_is_not_overwritten_either() {
    let _turn = beside();
    let result = Folder::new("meanwhile");
    let out = result.0.join("out");
    let mut command = with_path(&format!("{TINY} --out"), &out);
    command.stdout(Stdio::null());
    let mut running = Watched::start(command);
    running.hears("connecting");
    fs::write(out.join("seconds.csv"), "mine").unwrap();
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("seconds.csv") && !said.contains("The report is in"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(out.join("seconds.csv")).unwrap(), "mine");
    load(&out).expect("the data are kept");
    assert!(
        names(&out)
            .iter()
            .all(|name| FILES.contains(&name.as_str())),
        "{:?}",
        names(&out)
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_the_load() {
    let _turn = beside();
    let result = Folder::new("refused");
    fs::write(result.0.join("file"), "").unwrap();
    let here = result.0.display();
    for arguments in [
        format!("{TINY} --out /proc/1"),
        format!("{TINY} --out /proc/new"),
        format!("{TINY} --out {here}/file"),
        format!("{TINY} --out {here}/file/below"),
        format!("compare {TINY} --whole-trials --blocks 1 --out /proc"),
        format!("compare {TINY} --whole-trials --blocks 1 --out {here}/file"),
    ] {
        let output = loadgen(&arguments).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains("--out"),
            "{arguments}: {}",
            said(&output)
        );
        assert!(
            !said(&output).contains("connecting"),
            "{arguments}: {}",
            said(&output)
        );
    }
    assert_eq!(names(&result.0), ["file"]);
    for (mount, says) in [
        ("mount -o remount,ro disk", "Read-only"),
        ("head -c 4M /dev/zero >disk/ballast", "No space"),
    ] {
        let output = on_a_disk_of_its_own(
            &result,
            "1M",
            &format!("{{ {mount}; }} 2>/dev/null || true; exec \"$@\""),
            |disk| with_path(&format!("{TINY} --out"), disk.join("out")),
        )
        .output()
        .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(
            said(&output).contains("--out") && said(&output).contains(says),
            "{}",
            said(&output)
        );
        assert!(!said(&output).contains("connecting"), "{}", said(&output));
    }
}

/// The command, run by this script in a mount namespace that has a small disk of its own in the folder.
fn on_a_disk_of_its_own(
    folder: &Folder,
    size: &str,
    script: &str,
    command: impl Fn(&Path) -> Command,
) -> Command {
    let disk = folder.0.join("disk");
    fs::create_dir_all(&disk).unwrap();
    let inner = command(&disk);
    let mount = format!(
        "set -e; cd {}; mount -t tmpfs -o size={size} none disk; {script}",
        folder.0.display()
    );
    let mut outer = Command::new("unshare");
    outer
        .args(["--mount", "--map-root-user", "sh", "-c", &mount, "sh"])
        .stdin(Stdio::null());
    outer.arg(inner.get_program()).args(inner.get_args());
    outer
}

#[test]
fn a_disk_that_fills_during_the_run_is_said_and_nothing_of_zero_bytes_stays() {
    let _turn = beside();
    let result = Folder::new("fills");
    for (arguments, until, stays) in [
        (format!("{TINY} --out"), "-d disk/out", "gone"),
        (
            format!("compare {TINY} --whole-trials --blocks 2 --out"),
            "disk/out/*/memory.svg",
            "comparison.json",
        ),
    ] {
        // Once the folder is there, or the first trial's report, nothing else has room.
        let fill = format!(
            "until ls {until} | grep -q .; do sleep 0.01; done; sleep 0.3; head -c 9M /dev/zero >disk/ballast"
        );
        let tell = "code=0; \"$@\" || code=$?; ls -As disk/out disk/out/* || echo gone; cat disk/out/*/comparison.json >data || true; exit $code";
        let script = format!("{{ {fill}; }} 2>/dev/null & {tell}");
        let output = on_a_disk_of_its_own(&result, "4M", &script, |disk| {
            with_path(&arguments, disk.join("out"))
        })
        .output()
        .unwrap();
        let (listed, said) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            said(&output),
        );
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("comparison.json") && said.contains("No space left on device"),
            "{said}"
        );
        assert!(!said.contains("The report is in"), "{said}");
        assert!(
            listed.contains("delivered of expected"),
            "the table is printed all the same: {listed}"
        );
        let listed = listed.rsplit("\n\n").next().unwrap();
        assert!(
            listed.contains(stays),
            "{said}\n{}",
            String::from_utf8_lossy(&output.stdout)
        );
        assert!(
            !listed.contains(" 0 ") && !listed.contains("draft"),
            "{listed}"
        );
    }
    let first: Comparison =
        serde_json::from_slice(&fs::read(result.0.join("data")).unwrap()).unwrap();
    assert_eq!(first.trials.len(), 1, "what was written before is whole");

    // Files of more than this many blocks of 512 bytes cannot be written: the small reports could, the data cannot.
    let out = result.0.join("limited");
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -f 16; exec "$0" "$@""#, program()]);
    command.args(TINY.split_whitespace()).arg("--out").arg(&out);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "no signal ends it: {:?} {said}",
        output.status
    );
    assert!(
        said.contains("File too large") && !said.contains("The report is in"),
        "{said}"
    );
    assert!(!out.exists(), "{said}");
}

#[test]
fn a_start_that_fails_leaves_no_folder_behind() {
    let _turn = beside();
    let result = Folder::new("start");
    for command in ["", "compare --whole-trials --blocks 1"] {
        let arguments = format!("{command} {TINY} --server-flags --bogus --out");
        let output = with_path(&arguments, result.0.join("of/its/own"))
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{command}: {}",
            said(&output)
        );
        let quoted = "the server did not start: unexpected argument '--bogus' found (it ended with exit status: 2)";
        assert!(
            said(&output).contains(quoted),
            "{command}: {}",
            said(&output)
        );
        assert!(
            !said(&output).contains("The report is in"),
            "{command}: {}",
            said(&output)
        );
        assert!(
            names(&result.0).is_empty(),
            "{command}: {:?}",
            names(&result.0)
        );
    }
    let kept = result.0.join("kept");
    fs::create_dir(&kept).unwrap();
    assert_eq!(
        with_path(&format!("{TINY} --server-flags --bogus --out"), &kept)
            .output()
            .unwrap()
            .status
            .code(),
        Some(1)
    );
    assert!(kept.exists(), "what was there is not removed");
}

#[test]
fn a_path_of_any_bytes_works_and_the_command_in_the_report_repeats_it() {
    let _turn = beside();
    let result = Folder::new("bytes");
    for bytes in [
        &b"d\xff"[..],
        b"it's a \xe2\x82\xac\n\x1b[31m",
        b"$(touch x) \\ `y`",
    ] {
        let out = result.0.join(OsStr::from_bytes(bytes));
        // With a seed: one that was drawn would stand after the path.
        let output = with_path(&format!("{TINY} --seed 7 --out"), &out)
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{bytes:?}: {}",
            said(&output)
        );
        assert!(!said(&output).contains('\u{1b}'), "{}", said(&output));
        let comparison = load(&out).unwrap();
        // A shell takes the command apart again.
        let script = format!(
            "loadgen() {{ printf '%s\\0' \"$@\"; }}; {}",
            comparison.command
        );
        let words = Command::new("bash")
            .args(["-c", &script])
            .output()
            .unwrap()
            .stdout;
        let last = words
            .split(|byte| *byte == 0)
            .rfind(|word| !word.is_empty())
            .unwrap();
        assert_eq!(last, out.as_os_str().as_bytes(), "{}", comparison.command);
        let again = with_path("report", &out).output().unwrap();
        assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    }
    let compare = with_path(
        &format!("compare {TINY} --whole-trials --blocks 1 --out"),
        result.0.join(OsStr::from_bytes(b"\xfe")),
    );
    let outputs = at_once(vec![compare]);
    assert_eq!(outputs[0].status.code(), Some(0), "{}", said(&outputs[0]));

    for flag in [
        "--url",
        "--server-flags",
        "--mode",
        "--rate",
        "--bogus",
        "compare --name",
        "compare --mode",
    ] {
        let mut command = loadgen(flag);
        command.arg(OsStr::from_bytes(b"\xff"));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag}: {}", said(&output));
        assert!(
            said(&output).starts_with("error:"),
            "{flag}: {}",
            said(&output)
        );
    }
}

/// A result of its own, to be spoilt.
fn a_result(folder: &Folder) -> PathBuf {
    let out = folder.0.join("result");
    let output = with_path(&format!("{TINY} --out"), &out).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    out
}

/// What a result becomes that cannot be read, and all that is said of it.
fn spoilt(json: &str) -> [(String, Vec<String>); 11] {
    let length = json.trim_end().len();
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    let (older, newer) = (
        json.replacen("\"schema\":4", "\"schema\":1", 1),
        json.replacen("\"schema\":4", "\"schema\":99", 1),
    );
    let version = format!("loadgen {}", env!("CARGO_PKG_VERSION"));
    value["trials"][0]["outcome"]
        .as_object_mut()
        .unwrap()
        .remove("latency");
    [
        (
            json[..length / 2].to_owned(),
            vec![format!("ends at byte {}", length / 2), "truncated".into()],
        ),
        (json[..length - 1].to_owned(), vec!["truncated".into()]),
        (String::new(), vec!["is empty".into()]),
        (
            "# Transports compared\n".into(),
            vec!["is not JSON".into(), "line 1".into()],
        ),
        (format!("{json}{json}"), vec!["is not JSON".into()]),
        (
            "{\"dependencies\": {}}".into(),
            vec!["is JSON, but not a result of loadgen".into()],
        ),
        (
            "[1, 2]".into(),
            vec!["is JSON, but not a result of loadgen".into()],
        ),
        (
            "{\"schema\": \"draft-07\"}".into(),
            vec!["is JSON, but not a result of loadgen".into()],
        ),
        (
            older,
            vec!["schema 1".into(), version.clone(), "reads schema 4".into()],
        ),
        (newer, vec!["schema 99".into(), version]),
        (
            value.to_string(),
            vec!["schema 4".into(), "missing field `latency`".into()],
        ),
    ]
}

#[test]
fn report_takes_the_file_or_its_folder_and_says_what_a_file_is_that_it_cannot_read() {
    let _turn = beside();
    let result = Folder::new("report");
    let out = a_result(&result);
    let data = out.join("comparison.json");
    for path in [&out, &data] {
        fs::remove_file(out.join("comparison.md")).unwrap();
        let output = with_path("report", path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(out.join("comparison.md").exists());
    }
    let mut command = loadgen("report comparison.json");
    let output = command.current_dir(&out).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    let json = fs::read_to_string(&data).unwrap();
    for (text, says) in spoilt(&json) {
        for entry in FILES.iter().filter(|name| **name != "comparison.json") {
            let _ = fs::remove_file(out.join(entry));
        }
        fs::write(&data, &text).unwrap();
        let output = with_path("report", &out).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{text:.40}: {said}");
        assert!(
            says.iter().all(|part| said.contains(part)),
            "{says:?}: {said}"
        );
        assert!(
            said.contains("comparison.json") && said.lines().count() == 1,
            "{said}"
        );
        assert_eq!(names(&out), ["comparison.json"], "{said}");
    }
    for path in ["/dev/null", "/dev/zero", "/"] {
        let output = with_path("report", path).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{path}: {}", said(&output));
    }
}

#[test]
fn report_writes_over_its_own_files_alone_and_says_where_it_cannot_write() {
    let _turn = beside();
    let result = Folder::new("own");
    let out = a_result(&result);
    for name in FILES
        .iter()
        .filter(|name| **name != "comparison.json" && !name.starts_with("ratios"))
    {
        let own = fs::read(out.join(name)).unwrap();
        fs::write(out.join(name), "mine").unwrap();
        let output = with_path("report", &out).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", said(&output));
        assert!(
            said(&output).contains(name) && !said(&output).contains("The report is in"),
            "{}",
            said(&output)
        );
        assert_eq!(fs::read_to_string(out.join(name)).unwrap(), "mine");
        fs::write(out.join(name), own).unwrap();
    }
    fs::create_dir_all(result.0.join("disk")).unwrap();
    let locked = format!(
        "cp -r {} disk/result && mount -o remount,ro disk && exec \"$@\"",
        out.display()
    );
    let output = on_a_disk_of_its_own(&result, "8M", &locked, |disk| {
        with_path("report", disk.join("result"))
    })
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("Read-only") && !said(&output).contains("The report is in"),
        "{}",
        said(&output)
    );
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("delivered of expected"),
        "the table is printed"
    );

    // As long as a run writes there, it is that run's.
    let busy = result.0.join("busy");
    let mut command = with_path(
        "compare --mode ws -c 2 --room-size 2 --rate 20 --warmup 100ms -z 1s --whole-trials --blocks 2 --out",
        &busy,
    );
    command.stdout(Stdio::null());
    let mut running = Watched::start(command);
    let own = within(Duration::from_secs(60), "the first trial", || {
        let folder = fs::read_dir(&busy).ok()?.next()?.unwrap().path();
        folder.join("comparison.html").exists().then_some(folder)
    });
    let output = with_path("report", &own).output().unwrap();
    assert!(
        said(&output).contains("another loadgen is writing"),
        "{}",
        said(&output)
    );
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(running.end().0, Some(0));
}
