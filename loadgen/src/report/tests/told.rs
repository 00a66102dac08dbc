//! What reports say in words, of comparisons that are made up for it.

use super::*;
use crate::result::files::DATA;
use crate::result::metric::METRICS;
use crate::result::proxy::{Configured, Proxy};
use crate::result::variant::Transport::{LongPoll, ShortPoll, Sse, Ws, WsStock};
use crate::result::words::digits;

/// This many blocks of these transports, from 6 on with the control, in which everything goes well but for what `change`
/// does to an outcome: it is told the block, and whether the trial is the control's.
fn blocks(n: usize, modes: &[Transport], change: impl Fn(&mut Outcome, usize, bool)) -> Comparison {
    let variants = modes.iter().map(|&mode| Variant::from(mode)).collect();
    let mut comparison = begin(
        variants,
        n,
        Scenario::parse("--duration 2s").unwrap(),
        "loadgen compare".into(),
    );
    comparison.started = "2026-11-26T00:36:33Z".into();
    for block in 1..=n {
        let control = comparison.control.then_some((Ws, true));
        for (mode, control) in modes.iter().map(|&mode| (mode, false)).chain(control) {
            let mut outcome = crate::result::outcome::tests::empty(mode);
            (
                outcome.expected,
                outcome.delivered,
                outcome.audit.expected,
                outcome.audit.received,
            ) = (1000, 1000, 1500, 1500);
            (
                outcome.publishing.scheduled,
                outcome.publishing.paced,
                outcome.publishing.acked,
            ) = (1000, 1000, 1000);
            (0..1000_u64).for_each(|i| outcome.latency.record(1_000_000 + i * 1000));
            (outcome.usage.deliveries, outcome.usage.server_cpu_ns) = (1000, Some(20_000_000));
            change(&mut outcome, block, control);
            let verdict = verdict::of(&outcome);
            add(&mut comparison, block, control, outcome, verdict);
        }
    }
    judge::compare(&mut comparison);
    comparison
}

fn terminal(comparison: &Comparison) -> String {
    markdown::terminal(comparison, Shown::default())
}

fn notes(comparison: &Comparison) -> Vec<String> {
    notes::of(comparison, &Summary::of(comparison))
}

/// The cells of a row of a Markdown table.
fn row<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("| {name}")))
        .unwrap_or_else(|| panic!("{name}: {text}"));
    line.split('|')
        .skip(2)
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect()
}

/// Sse delivers nothing in the window, and its server says it does.
fn silent(outcome: &mut Outcome, _block: usize, _control: bool) {
    if outcome.variant.mode == Sse {
        (
            outcome.delivered,
            outcome.audit.received,
            outcome.audit.lost,
        ) = (0, 0, 1500);
    }
}

#[test]
fn who_misses_messages_is_said_at_its_head_first_of_all_and_in_no_plain_ink() {
    let comparison = blocks(10, &[Ws, Sse], silent);
    assert!(
        comparison
            .trials
            .iter()
            .all(|trial| trial.verdict.kind == Kind::Valid),
        "the measurement is sound"
    );
    let text = markdown::render(&comparison);
    assert_eq!(row(&text, " "), ["ws", "sse, INCOMPLETE"]);
    assert_eq!(
        row(&text, "verdict"),
        ["valid, 10 of 10", "(valid, 10 of 10; messages missing)"]
    );
    assert_eq!(
        row(&text, "server CPU per delivery, µs"),
        ["20.0", "(20.0)"]
    );
    assert!(
        row(&text, "server CPU per delivery ")[0].starts_with('('),
        "{text}"
    );
    let words = [
        "no difference",
        "within the noise",
        "faster",
        "slower",
        "less CPU",
        "more CPU",
    ];
    let against = text.lines().filter(|line| {
        line.starts_with("| latency p50 ") || line.starts_with("| server CPU per delivery ")
    });
    assert!(
        against.clone().count() == 2
            && against
                .clone()
                .all(|line| words.iter().all(|word| !line.contains(word)))
    );
    let first = &notes(&comparison)[0];
    assert!(first.starts_with(
        "sse is INCOMPLETE in 10 of its 10 trials: 10000 deliveries of the measuring window missing, of 10000"
    ));
    assert!(
        first.contains("15000 deliveries lost in the whole trial"),
        "its other scope: {first}"
    );
    let lines: Vec<String> = terminal(&comparison).lines().map(String::from).collect();
    assert_eq!(
        lines[0],
        "INCOMPLETE: sse misses 10000 of 10000 deliveries; every figure of all 20 trials can be trusted."
            .replace("20", "30")
    );
    assert_eq!(
        lines[2],
        "Server CPU per delivery: ws 20.0 µs, sse (20.0 µs)."
    );
    let page = html::render(&comparison).unwrap();
    assert!(
        page.contains("sse, INCOMPLETE")
            && !page.contains("<td class=\"\">valid, 10 of 10; messages missing")
    );
    // The words are there where nothing is missing.
    let whole = terminal(&blocks(10, &[Ws, Sse], |_, _, _| ()));
    assert!(
        whole.contains("sse 20.0 µs (no difference shown, 0 % would have been)")
            && !whole.contains("INCOMPLETE"),
        "{whole}"
    );
}

#[test]
fn what_missing_deliveries_decide_is_said_beside_it_and_scopes_are_named() {
    let comparison = blocks(1, &[Ws], |outcome, _, _| {
        (
            outcome.delivered,
            outcome.audit.received,
            outcome.audit.lost,
        ) = (880, 1340, 160);
    });
    let text = markdown::render(&comparison);
    assert!(
        row(&text, "latency p50, ms")[0].ends_with(')')
            && !row(&text, "latency p50, ms")[0].contains("never")
    );
    for quantile in ["latency p90, ms", "latency p99, ms", "latency max, ms"] {
        assert!(
            row(&text, quantile)[0].ends_with(" or never)"),
            "12 % never came: {text}"
        );
    }
    assert_eq!(
        row(&text, "delivered of expected, in the window"),
        ["880 of 1000"]
    );
    assert_eq!(
        row(&text, "lost / doubled / reordered, in whole trials"),
        ["160 / 0 / 0"]
    );
    let told = notes(&comparison).join("\n");
    assert!(
        told.contains("120 deliveries of the measuring window missing, of 1000 (12.0 %)"),
        "{told}"
    );
    assert!(
        told.contains("160 deliveries lost in the whole trial")
            && told.contains("audit of the whole trial found 160")
    );
    let whole = markdown::render(&blocks(1, &[Ws], |_, _, _| ()));
    assert!(
        !whole.contains("never") && row(&whole, "delivered of expected") == ["all 1000"],
        "{whole}"
    );
}

#[test]
fn what_happened_in_many_trials_is_said_once_with_its_sum_and_its_share() {
    let comparison = blocks(10, &[LongPoll, Ws], |outcome, block, control| {
        if outcome.variant.mode == LongPoll && block <= 3 {
            (outcome.connections.lost, outcome.connections.cut) = (2, 2);
            let refused = "connection: Connection refused (os error 111)";
            outcome.failures.insert(
                format!("publishing: {refused}"),
                Failures {
                    count: 7,
                    example: refused.into(),
                },
            );
            let told = Failures {
                count: 1,
                example: "refused with 429: slow down".into(),
            };
            outcome
                .failures
                .insert("publishing: refused with 429".into(), told);
        }
        if (outcome.variant.mode, block) == (LongPoll, 5) {
            (0..100).for_each(|_| outcome.receive_delay.record(5_000_000));
        }
        if control && block == 2 {
            outcome.connections.lost = 1;
        }
    });
    let notes = notes(&comparison);
    for (told, what) in [
        (
            "long-poll in 3 of its 10 trials: 6 connections lost.",
            "summed",
        ),
        (
            "long-poll in 3 of its 10 trials: FAILED: the server, or what stands between, ended 6 connections.",
            "failures too",
        ),
        (
            "long-poll in 3 of its 10 trials: 21 x publishing: connection: Connection refused (os error 111).",
            "said once",
        ),
        (
            "long-poll in 3 of its 10 trials: 3 x publishing: refused with 429, such as: slow down.",
            "no word twice",
        ),
        (
            "ws, A/A control in 1 of its 10 trials: 1 connection lost.",
            "the control is named, and one is not several",
        ),
    ] {
        assert_eq!(
            notes.iter().filter(|note| *note == told).count(),
            1,
            "{what}: {notes:#?}"
        );
    }
    let limited: Vec<&String> = notes
        .iter()
        .filter(|note| note.contains("generator-limited"))
        .collect();
    assert!(limited.iter().any(|note| {
        note.starts_with(
            "long-poll in 1 of its 10 trials: generator-limited, not to be trusted: p99: at worst client receive delay",
        )
    }));
}

#[test]
fn a_trial_that_did_not_start_prints_no_table_and_no_figures() {
    for n in [1, 3] {
        let mut comparison = blocks(n, &[Ws, Sse], |_, _, _| ());
        let mut outcome = crate::result::outcome::tests::empty(Ws);
        outcome.end = End::Broken("no client could connect (connection: refused)".into());
        let verdict = verdict::of(&outcome);
        comparison.trials.clear();
        add(&mut comparison, 1, false, outcome, verdict);
        judge::compare(&mut comparison);
        let text = terminal(&comparison);
        let first =
            "FAILED, ws: no client could connect (connection: refused); the measurement is broken.";
        assert_eq!(text.lines().next(), Some(first));
        assert!(!text.contains('|') && !text.contains(" 0 of"), "{text}");
        assert!(!html::render(&comparison).unwrap().contains("<h2>Pictures"));
        comparison.trials.clear();
        assert!(!notes(&comparison).join("").contains("ended early"));
    }
}

#[test]
fn the_first_line_says_that_all_came_only_if_it_did() {
    let first = |change: fn(&mut Outcome)| {
        let comparison = blocks(1, &[Ws], |outcome, _, _| change(outcome));
        terminal(&comparison).lines().next().unwrap().to_owned()
    };
    for (change, expected) in [
        (|_| (), "Every message reached every subscriber; "),
        (
            |o| o.end = End::Interrupted,
            "ENDED EARLY: 1000 of 1000 deliveries had come by then; ",
        ),
        (
            |o| (o.expected, o.delivered) = (0, 0),
            "No message was expected by anybody; ",
        ),
        (
            |o| o.connections.refused = 3,
            "FAILED, ws: the server turned away 3 of 0 clients; ",
        ),
        (
            |o| o.audit.doubled = 2,
            "FAILED, ws: the audit of the whole trial found 2 doubled; ",
        ),
        (
            |o| o.delivered = 999,
            "INCOMPLETE: ws misses 1 of 1000 deliveries; ",
        ),
        (
            |o| (o.delivered, o.restarts) = (999, 1),
            "INCOMPLETE: ws misses 1 of 1000 deliveries; ",
        ),
    ] as [(fn(&mut Outcome), &str); 7]
    {
        let line = first(change);
        assert!(line.starts_with(expected), "{line}");
    }
    // The control is no row, and what it misses makes the exit code 1.
    let control = blocks(10, &[Ws, Sse], |outcome, _, control| {
        outcome.delivered -= u64::from(control);
    });
    let text = terminal(&control);
    assert!(
        text.starts_with("INCOMPLETE: the A/A control misses 10 of 10000 deliveries; "),
        "{text}"
    );
}

#[test]
fn a_comparison_that_misses_a_message_has_failed_and_one_that_was_ended_early_has_not() {
    let has_failed =
        |change: fn(&mut Outcome)| blocks(1, &[Ws], |outcome, _, _| change(outcome)).has_failed();
    assert!(!has_failed(|_| ()));
    assert!(has_failed(|outcome| outcome.delivered = 999));
    assert!(!has_failed(
        |outcome| (outcome.delivered, outcome.end) = (999, End::Interrupted)
    ));
    assert!(has_failed(|outcome| outcome.connections.cut = 1));
}

#[test]
fn rows_and_columns_of_nothing_but_dashes_are_left_out() {
    // No block has two valid trials.
    let noisy = blocks(3, &[Ws, Sse], |outcome, block, _| {
        if (outcome.variant.mode == Ws) == (block % 2 == 0) {
            outcome.unbalanced = 1;
        }
    });
    let text = markdown::render(&noisy);
    assert!(!text.contains("Against ws"), "{text}");
    assert!(
        text.contains("No block has two trials that could be compared."),
        "{text}"
    );
    let one = blocks(3, &[Ws, Sse, LongPoll], |outcome, _, _| {
        if outcome.variant.mode == LongPoll {
            outcome.unbalanced = 1;
        }
    });
    let text = markdown::render(&one);
    let against = text
        .split("## ")
        .find(|part| part.starts_with("Against ws"))
        .unwrap();
    assert_eq!(row(against, " "), ["sse"]);
    assert!(!against.contains(" - "), "{against}");
}

#[test]
fn the_first_three_lines_are_the_answer_and_the_other_rows_are_for_who_asks() {
    let comparison = blocks(3, &[ShortPoll, Ws], |outcome, _, _| {
        if outcome.variant.mode == ShortPoll {
            outcome.latency = Times::default();
            (0..1000_u64).for_each(|i| outcome.latency.record(i * 1_000_000));
            outcome.usage.server_cpu_ns = Some(62_100_000);
        }
    });
    let short = terminal(&comparison);
    let lines: Vec<&str> = short.lines().collect();
    assert_eq!(
        lines[0],
        "Every message reached every subscriber; every figure of all 6 trials can be trusted."
    );
    assert!(
        lines[1].starts_with("Latency p50: ws 1.50 ms, short-poll 499 ms"),
        "{}",
        lines[1]
    );
    assert_eq!(
        lines[2],
        "Server CPU per delivery: ws 20.0 µs, short-poll 62.1 µs."
    );
    let all = markdown::terminal(
        &comparison,
        Shown {
            all: true,
            width: None,
        },
    );
    let rows = |text: &str| text.lines().filter(|line| line.starts_with('|')).count();
    assert!(
        rows(&short) < rows(&all) && rows(&short) <= 2 * 2 + 9 + 2,
        "{short}"
    );
    assert!(
        all.contains("latency p90, ms")
            && !short.contains("latency p90")
            && short.contains("--verbose")
    );
    assert!(!all.contains("--verbose"));
}

#[test]
fn on_a_narrow_terminal_one_row_stands_below_the_other() {
    let comparison = blocks(6, &[ShortPoll, LongPoll, Ws], |outcome, _, _| {
        if outcome.variant.mode == LongPoll {
            outcome.delivered = 999;
        }
    });
    for all in [false, true] {
        let text = markdown::terminal(
            &comparison,
            Shown {
                all,
                width: Some(40),
            },
        );
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 40, "{longest}: {text}");
        assert!(
            !text.contains('|') && text.contains("\nlong-poll, INCOMPLETE\n  latency p50, ms"),
            "{text}"
        );
    }
    assert!(
        markdown::terminal(
            &comparison,
            Shown {
                all: false,
                width: Some(200)
            }
        )
        .contains("| latency p50, ms")
    );
}

#[test]
fn a_mark_has_one_meaning() {
    let comparison = blocks(1, &[ShortPoll, Ws], |outcome, _, _| {
        if outcome.variant.mode == ShortPoll {
            outcome.usage.seconds = 2.0;
            outcome.usage.traffic.requests = 2000;
            outcome.connections.wanted = 3;
        }
        outcome.publishing.acks.record(1_000_000);
        outcome.realised.base.record(1_000_000);
    });
    let text = markdown::render(&comparison);
    assert!(!text.contains('✓') && text.contains(", DIFFER"), "{text}");
    let check = row(&text, "clients not connected");
    assert_eq!(
        check,
        ["3.00 of 0, EXCEEDED", "0 of 0"],
        "brackets are for what is not to be relied on"
    );
    for (name, svg) in chart::all(&comparison) {
        assert!(!svg.contains("c-pale"), "{name}: faint is what is in doubt");
    }
}

/// Every label of a picture: its text, and from where to where it reaches, of a width per character that is on the safe
/// side.
fn labels(svg: &str) -> Vec<(String, f64, f64)> {
    let value = |tag: &str, name: &str| {
        tag.split(&format!("{name}=\""))
            .nth(1)?
            .split('"')
            .next()?
            .parse::<f64>()
            .ok()
    };
    svg.split("<text ")
        .skip(1)
        .map(|part| {
            let (tag, rest) = part.split_once('>').unwrap();
            let (text, x) = (rest.split('<').next().unwrap(), value(tag, "x").unwrap());
            let width = 7.0 * text.chars().count() as f64;
            let from = if tag.contains("c-end") {
                x - width
            } else if tag.contains("c-mid") {
                x - width / 2.0
            } else {
                x
            };
            (text.to_owned(), from, from + width)
        })
        .collect()
}

#[test]
fn no_label_of_a_picture_is_cut_off_however_large_the_figure_and_however_many_the_rows() {
    for (ms, bytes) in [(1, 100), (1_000_000, 1_000_000), (3_000_000, 1 << 40)] {
        let mut comparison = blocks(
            6,
            &[ShortPoll, LongPoll, Sse, Ws, WsStock],
            |outcome, block, _| {
                let factor = if outcome.variant.mode == Ws {
                    1
                } else {
                    1_000_000
                };
                (0..20).for_each(|i| outcome.latency.record(ms * 1_000_000 + i * block as u64));
                outcome.usage.server_cpu_ns = Some(20_000 * factor * block as u64);
                (
                    outcome.usage.traffic.bytes_in,
                    outcome.usage.traffic.bytes_out,
                ) = (bytes * 1000, bytes * 777);
                outcome.series = vec![bytes; 2];
            },
        );
        let native: Vec<crate::result::comparison::Trial> = comparison
            .trials
            .iter()
            .filter(|trial| !trial.control)
            .cloned()
            .collect();
        for mut trial in native {
            trial.outcome.variant.publish = Publish::Native;
            comparison.trials.push(trial);
        }
        let variants: Vec<Variant> = comparison
            .variants
            .iter()
            .map(|variant| Variant {
                publish: Publish::Native,
                ..*variant
            })
            .collect();
        comparison.variants.extend(variants);
        through(&mut comparison, Proxy::Haproxy);
        for (name, svg) in chart::all(&comparison) {
            for (text, from, to) in labels(&svg) {
                assert!(
                    from >= 0.0 && to <= 460.0,
                    "{name}, {ms} ms: {text:?} from {from:.0} to {to:.0} of 460"
                );
            }
        }
    }
}

/// Adds each row once more, through a proxy, where everything takes twice as long and the proxy 30 µs of CPU.
fn through(comparison: &mut Comparison, proxy: Proxy) {
    let via = |variant: Variant| Variant {
        via: Some(proxy),
        ..variant
    };
    let own = comparison.trials.iter().filter(|trial| !trial.control);
    let own: Vec<crate::result::comparison::Trial> = own.cloned().collect();
    for mut trial in own {
        let outcome = &mut trial.outcome;
        outcome.variant = via(outcome.variant);
        let usage = &mut outcome.usage;
        usage.server_cpu_ns = usage.server_cpu_ns.map(|ns| 2 * ns);
        usage.proxy_cpu_ns = Some(30_000 * usage.deliveries);
        comparison.trials.push(trial);
    }
    let rows: Vec<Variant> = comparison.variants.iter().copied().map(via).collect();
    comparison.variants.extend(rows);
    comparison.proxy = Some(Configured {
        proxy,
        version: "1.2.3".into(),
        configuration: vec!["listen <ADDRESS>".into()],
    });
    judge::compare(comparison);
}

#[test]
fn what_a_proxy_costs_is_told_against_the_same_row_without_it_and_how_it_was_configured() {
    let mut comparison = blocks(10, &[Ws, Sse], |outcome, _, _| {
        let factor = if outcome.variant.mode == Sse { 4 } else { 1 };
        outcome.usage.server_cpu_ns = outcome.usage.server_cpu_ns.map(|ns| ns * factor);
    });
    let before = markdown::render(&comparison);
    assert!(!before.contains("proxy") && !before.contains("configured"));
    through(&mut comparison, Proxy::Nginx);
    let text = markdown::render(&comparison);
    let all = ["ws", "sse", "ws via nginx", "sse via nginx"];
    assert_eq!(row(&text, " "), all);
    assert_eq!(
        row(&text, "proxy CPU per delivery, µs"),
        ["-", "-", "30.0", "30.0"]
    );
    let (_, costs) = text
        .split_once("## What nginx costs: against the same")
        .unwrap();
    assert_eq!(row(costs, " "), ["ws via nginx", "sse via nginx"]);
    let word = "2.00 (2.00 to 2.00), more CPU: at least 2.00 times, 10 of 10 blocks";
    assert_eq!(row(costs, "server CPU per delivery "), [word, word]);
    assert_eq!(
        row(costs, "server CPU per delivery, µs"),
        ["20.0 more", "80.0 more"]
    );
    assert_eq!(row(costs, "proxy CPU per delivery, µs"), ["30.0", "30.0"]);
    let (against, _) = text.split_once("## What nginx costs").unwrap();
    let (_, against) = against.split_once("## Against ws").unwrap();
    assert_eq!(row(against, " "), ["sse", "ws, A/A control"]);
    assert!(
        text.contains("## How nginx was configured") && text.contains("\n    listen <ADDRESS>\n")
    );
    let lines: Vec<String> = terminal(&comparison).lines().map(String::from).collect();
    assert!(lines[2].starts_with("Server CPU per delivery: ws 20.0 µs, sse 80.0 µs"));
    assert_eq!(
        lines[4],
        "Server CPU per delivery, against the same without the proxy: ws via nginx 40.0 µs (more CPU: at least 2.00 times, \
         10 of 10 blocks), sse via nginx 160 µs (more CPU: at least 2.00 times, 10 of 10 blocks)."
    );
    assert_eq!(
        lines[5],
        "Proxy CPU per delivery: ws via nginx 30.0 µs, sse via nginx 30.0 µs."
    );
    let page = html::render(&comparison).unwrap();
    assert!(page.contains("How nginx was configured") && page.contains("listen &#60;ADDRESS&#62;"));
    assert!(page.contains("c-4 c-via") && raw::trials(&comparison).contains(",ws via nginx,"));
    comparison.trials[0].outcome.began = comparison.started.clone();
    let tagged = comparison.trials.last_mut().unwrap();
    tagged.outcome.began = comparison.started.clone();
    tagged.outcome.intervals = vec![tagged.outcome.latency.clone()];
    assert!(
        raw::hlog(&comparison)
            .unwrap()
            .contains("Tag=sse-via-nginx-10,")
    );
}

#[test]
fn the_page_says_where_it_was_measured_and_where_the_data_are() {
    let page = html::render(&blocks(1, &[Ws], |_, _, _| ())).unwrap();
    assert!(
        page.contains("Measured on 2026-11-26 on ")
            && page.contains("the server that shows this page")
    );
    for file in [DATA, "latency.hlog", "comparison.csv", "seconds.csv"] {
        assert!(page.contains(&format!("<a href=\"{file}\">")), "{file}");
    }
    assert!(page.contains("@media print"));
}

#[test]
fn every_figure_of_every_trial_is_in_the_table_for_other_programs_and_in_the_data_by_its_id() {
    let comparison = blocks(2, &[Ws, Sse], |outcome, _, _| {
        outcome.usage.server_cpu_ns = outcome
            .usage
            .server_cpu_ns
            .filter(|_| outcome.variant.mode == Ws);
    });
    let csv = raw::trials(&comparison);
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let column = |id: &str| {
        rows[0]
            .iter()
            .position(|name| *name == id)
            .unwrap_or_else(|| panic!("{id}: {csv}"))
    };
    let json = serde_json::to_value(&comparison).unwrap();
    assert_eq!(rows.len(), 1 + comparison.trials.len());
    for (row, trial) in rows[1..].iter().zip(json["trials"].as_array().unwrap()) {
        assert_eq!(
            (row.len(), row[column("row")]),
            (rows[0].len(), trial["outcome"]["mode"].as_str().unwrap())
        );
        for metric in METRICS {
            let value = row[column(metric.id)];
            let expected = trial["metrics"][metric.id]
                .as_f64()
                .map_or(String::new(), digits);
            assert_eq!(value, expected, "{}", metric.id);
        }
        assert_eq!(
            row[column("server_cpu_us")],
            if row[column("row")] == "ws" { "20" } else { "" }
        );
    }
}
