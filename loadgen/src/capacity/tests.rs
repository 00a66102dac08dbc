use std::time::Duration;

use clap::{Args, Command};

use super::*;
use crate::cli::Compare;
use crate::result::bounds::*;
use crate::result::scenario::RoomSize;
use crate::result::scenario::tests::scenario;

/// Every flag that takes a number, with its range.
fn ranges() -> Vec<(&'static str, String)> {
    let times =
        [INTERVAL, HOLD, WARMUP, DURATION, BUDGET].map(|bounds| (bounds.name, bounds.to_string()));
    let counts =
        [CLIENTS, ROOM_SIZE, PAYLOAD, PUBLISHERS].map(|bounds| (bounds.name, bounds.to_string()));
    let others = [
        (RATE.name, RATE.to_string()),
        (SEED.name, SEED.to_string()),
        (BLOCKS.name, BLOCKS.to_string()),
        (SETS.name, SETS.to_string()),
    ];
    times.into_iter().chain(counts).chain(others).collect()
}

fn command() -> Command {
    Compare::augment_args(Command::new("loadgen").no_binary_name(true))
}

fn parse(flag: &str, value: &str) -> Result<(), String> {
    let mut words = vec![format!("--{flag}"), value.to_owned()];
    if flag == BLOCKS.name {
        words.push("--whole-trials".into());
    }
    let parsed = command().try_get_matches_from(words);
    parsed.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn every_flag_that_takes_a_number_has_a_range_and_its_help_states_it() {
    let ranges = ranges();
    for argument in command().get_arguments() {
        let is_number = argument
            .get_value_names()
            .into_iter()
            .flatten()
            .any(|name| ["N", "N|all", "R", "SIZE", "TIME"].contains(&name.as_str()));
        let range = ranges
            .iter()
            .find(|(name, _)| Some(*name) == argument.get_long());
        assert_eq!(is_number, range.is_some(), "{argument}");
        if let Some((_, range)) = range {
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&format!(", {range}")), "{argument}: {help}");
        }
    }
}

#[test]
fn what_is_out_of_range_or_no_number_is_refused_with_the_flag_and_both_ends() {
    let odd = [
        "",
        " ",
        "-1",
        "1e-12",
        "1e308",
        "NaN",
        "inf",
        "-inf",
        "x",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551615s",
        "-5s",
        "1e3s",
        "9e99KiB",
        "0x10",
        "1_0",
    ];
    for (flag, range) in ranges() {
        for value in odd {
            if flag == SEED.name && value == "18446744073709551615" {
                continue;
            }
            let error = parse(flag, value).unwrap_err();
            assert!(
                error.contains(&format!("--{flag} <")),
                "--{flag} {value:?}: {error}"
            );
            assert!(
                error.contains(&format!("from {range}")),
                "--{flag} {value:?}: {error}"
            );
        }
    }
}

#[test]
fn both_ends_of_a_range_are_in_it_and_what_lies_next_to_them_is_not() {
    for (flag, good, bad) in [
        ("clients", ["1", "1000000"], ["0", "1000001"]),
        ("room-size", ["1", "all"], ["0", "1000001"]),
        ("rate", ["0.001", "1e6"], ["0.0009", "1000000.1"]),
        ("payload", ["40", "64KiB"], ["39", "65537"]),
        ("interval", ["1ms", "10m"], ["999us", "601s"]),
        ("hold", ["1ms", "60s"], ["0s", "60001ms"]),
        ("publishers", ["1", "10000"], ["0", "10001"]),
        ("warmup", ["0s", "1h"], ["3601s", "5"]),
        ("duration", ["1ms", "1day"], ["0s", "86401s"]),
        ("seed", ["0", "18446744073709551615"], ["1.5", "1e3"]),
        ("blocks", ["1", "1000"], ["0", "1001"]),
        ("sets", ["1", "1000"], ["0", "1001"]),
        ("budget", ["1s", "1day"], ["999ms", "86401s"]),
    ] {
        good.iter()
            .for_each(|value| assert_eq!(parse(flag, value), Ok(()), "--{flag} {value}"));
        bad.iter()
            .for_each(|value| assert!(parse(flag, value).is_err(), "--{flag} {value}"));
    }
}

const LARGE: Capacity = Capacity {
    files: 1_048_576,
    memory: 1 << 34,
};

const SMALL: Capacity = Capacity {
    files: 4096,
    ..LARGE
};

/// Flags, what there is room for, how the error starts, and what else it says.
const REFUSED: [(&str, Capacity, &str, &str); 9] = [
    (
        "--clients 2 --publishers 9000",
        SMALL,
        "--publishers 9000:",
        "enough for 3995 publishers",
    ),
    (
        "--clients 3981",
        SMALL,
        "--clients 3981:",
        "enough for 3980 clients",
    ),
    (
        "--clients 5000 --publishers 9000",
        SMALL,
        "--publishers",
        "4096 files",
    ),
    (
        "--clients 2 --publishers 2",
        Capacity { files: 50, ..LARGE },
        "--publishers",
        "enough for 0",
    ),
    (
        "--rate 20001",
        LARGE,
        "--rate 20001:",
        "1000050 messages/s over 50 rooms; at most 1000000",
    ),
    (
        "--rate 1e6 --room-size all --duration 1day",
        LARGE,
        "--rate",
        "at most 4294967295 can be told apart",
    ),
    (
        "--duration 1day",
        LARGE,
        "--duration",
        "are free; lower --duration",
    ),
    (
        "--rate 1000 --duration 1h",
        LARGE,
        "--rate",
        "are free; lower --rate",
    ),
    (
        "--clients 1000000 --room-size all",
        LARGE,
        "--clients",
        "are free; lower --clients",
    ),
];

#[test]
fn a_load_that_there_is_no_room_for_is_blamed_on_the_flag_that_is_at_fault() {
    for (flags, room, starts, says) in REFUSED {
        let error = check(&scenario(flags), room).unwrap_err().to_string();
        assert!(
            error.starts_with(starts) && error.contains(says),
            "{flags}: {error}"
        );
    }
}

#[test]
fn a_load_that_there_is_just_room_for_is_taken() {
    for flags in [
        "",
        "--clients 3980",
        "--rate 20000 --warmup 0s --duration 1s",
        "--interval 10m",
        "--duration 10m",
    ] {
        assert!(check(&scenario(flags), SMALL).is_ok(), "{flags}");
    }
}

#[test]
fn a_saved_scenario_has_the_same_ranges() {
    assert!(scenario("").check().is_ok());
    type Change = fn(&mut Scenario);
    let changes: [(&str, Change); 9] = [
        ("clients is 0", |s| s.clients = 0),
        ("room-size is 0", |s| s.room_size = RoomSize::Of(0)),
        ("rate is NaN", |s| s.rate = f64::NAN),
        ("payload is 0", |s| s.payload = 0),
        ("interval is 0s", |s| s.interval = Duration::ZERO),
        ("hold is 0s", |s| s.hold = Duration::ZERO),
        ("publishers is 0", |s| s.publishers = 0),
        ("warmup is 1day 1h", |s| {
            s.warmup = Some(Duration::from_secs(90_000));
        }),
        ("duration is 0s", |s| s.duration = Some(Duration::ZERO)),
    ];
    for (says, change) in changes {
        let mut changed = scenario("");
        change(&mut changed);
        let error = changed.check().unwrap_err().to_string();
        assert!(
            error.starts_with(says) && error.contains("must be"),
            "{says}: {error}"
        );
    }
}
