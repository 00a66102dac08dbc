//! Findings as they could be, and what is said of them.

use super::super::findings::{Answers, Fate, Header, Page, Servers, Stream, Upgrade};
use super::*;

fn wait(transport: Transport, heartbeat_s: Option<f64>, end: End, silent_s: f64) -> Wait {
    Wait {
        transport,
        heartbeat_s,
        end,
        open_s: silent_s,
        silent_s,
        beats: 0,
    }
}

/// A path that carries all, and on which nothing is cut within 75 s.
fn healthy() -> Findings {
    let mut waits = vec![wait(Transport::LongPoll, None, End::Lived, 60.0)];
    for transport in [Transport::Sse, Transport::Ws] {
        waits.push(wait(transport, None, End::Lived, 75.0));
        for heartbeat in [20.0, 30.0, 60.0] {
            waits.push(wait(transport, Some(heartbeat), End::Lived, 15.0));
        }
    }
    Findings {
        url: "http://127.0.0.1:8080".into(),
        up_to_s: 75.0,
        hold_s: 25.0,
        answers: Some(Answers {
            version: "HTTP/1.1".into(),
            server: None,
        }),
        servers: Some(Servers {
            asked: 6,
            different: 1,
            cursor_unknown: 0,
        }),
        page: Some(Page::Accepted),
        upgrade: Some(Upgrade::Passed),
        stream: Some(Stream {
            status: None,
            first_ms: Some(2.0),
            message_ms: Some(1.0),
            heartbeat_s: Some(20.0),
        }),
        waits,
        ..Findings::default()
    }
}

/// The same, where what is silent on this transport is cut after this long.
fn cut_after(transport: Transport, seconds: f64) -> Findings {
    let mut found = healthy();
    for wait in &mut found.waits {
        let bears = wait.heartbeat_s.unwrap_or(f64::INFINITY) < seconds;
        if wait.transport == transport && !bears {
            (wait.end, wait.silent_s, wait.open_s) = (End::Fin, seconds, seconds);
        }
    }
    found
}

fn kinds(found: &Findings) -> Vec<Kind> {
    Advice::of(found)
        .problems
        .iter()
        .map(|it| it.kind)
        .collect()
}

fn safe(found: &Findings) -> [Option<bool>; 4] {
    let transports = Advice::of(found).transports;
    std::array::from_fn(|i| transports[i].safe)
}

const ALL: [Option<bool>; 4] = [Some(true); 4];

#[test]
fn a_path_that_carries_all_raises_no_alarm() {
    let advice = Advice::of(&healthy());
    assert_eq!((&advice.problems, advice.is_good()), (&Vec::new(), true));
    let said: Vec<&str> = advice.transports.iter().map(|it| &*it.said).collect();
    assert_eq!(said[1], "held for 25s; 60.0 s were tried");
    assert_eq!(
        said[3],
        "with the server's heartbeat of 20s; 75.0 s of silence were not cut"
    );
}

#[test]
fn the_usual_cut_after_a_minute_is_no_problem_for_a_heartbeat_of_twenty_seconds() {
    for (transport, place) in [
        (Transport::LongPoll, 1),
        (Transport::Sse, 2),
        (Transport::Ws, 3),
    ] {
        let found = cut_after(transport, 60.0);
        let advice = Advice::of(&found);
        assert_eq!((kinds(&found), safe(&found)), (vec![], ALL), "{transport}");
        let said = &advice.transports[place].said;
        assert!(said.contains("cut after 60.0 s"), "{said}");
    }
    assert!(
        Advice::of(&cut_after(Transport::Ws, 60.0)).transports[3]
            .said
            .contains("30s or less")
    );
    // What proxies have at the least: the defaults of the server were made for it.
    for transport in [Transport::LongPoll, Transport::Sse, Transport::Ws] {
        assert_eq!(safe(&cut_after(transport, 30.0)), ALL, "{transport}");
    }
}

#[test]
fn a_cut_below_the_heartbeat_is_named_with_what_would_do() {
    for (transport, kind, right) in [
        (Transport::LongPoll, Kind::HeldPoll, "wait=5s"),
        (Transport::Sse, Kind::IdleStream, "--heartbeat 5s"),
        (Transport::Ws, Kind::IdleSocket, "--heartbeat 5s"),
    ] {
        let found = cut_after(transport, 10.0);
        let advice = Advice::of(&found);
        assert_eq!(kinds(&found), [kind]);
        let problem = &advice.problems[0];
        assert_eq!(problem.transports, [transport]);
        assert!(
            problem.instead.as_ref().unwrap().contains(right),
            "{problem:?}"
        );
        assert!(problem.said.contains("10.0 s"), "{problem:?}");
        let unsafe_ones: Vec<Transport> = advice
            .transports
            .iter()
            .filter(|it| it.safe == Some(false))
            .map(|it| it.transport)
            .collect();
        assert_eq!(unsafe_ones, [transport]);
    }
}

#[test]
fn a_heartbeat_as_long_as_the_cut_is_a_race_even_if_it_was_won() {
    let mut found = cut_after(Transport::Ws, 60.0);
    found.stream.as_mut().unwrap().heartbeat_s = Some(60.0);
    let sixty = found.waits.last_mut().unwrap();
    (sixty.end, sixty.silent_s, sixty.beats) = (End::Lived, 15.0, 1);
    let sixty = found.waits.last().unwrap();
    assert_eq!(keeps(&found, sixty), Some(false), "by luck");
    let advice = Advice::of(&found);
    assert_eq!(kinds(&found), [Kind::IdleSocket]);
    assert!(
        advice.problems[0]
            .said
            .contains("heartbeat of 1m is too late")
    );
    assert_eq!(
        advice.problems[0].instead.as_deref(),
        Some("--heartbeat 30s at the server")
    );
    assert_eq!(
        advice.problems[0].time_s,
        Some(180.0),
        "or the timer three times as long"
    );
    let keeps: Vec<Option<bool>> = found
        .waits_of(Transport::Ws)
        .map(|wait| keeps(&found, wait))
        .collect();
    assert_eq!(keeps, [None, Some(true), Some(true), Some(false)]);
}

#[test]
fn what_is_well_below_a_cut_is_between_a_third_and_a_half_of_it() {
    for tenths in 10..6000 {
        let cut = f64::from(tenths) / 10.0;
        let right = well_below(cut);
        assert!(
            right <= cut * 0.503 && right >= cut / 3.0 - 1e-6,
            "{cut}: {right}"
        );
    }
    assert_eq!(
        [2.0, 10.0, 60.0, 100.0].map(well_below),
        [1.0, 5.0, 30.0, 50.0]
    );
}

#[test]
fn a_cut_that_a_sign_of_life_did_not_put_off_limits_the_whole_life() {
    let mut found = cut_after(Transport::Sse, 30.0);
    let twenty = found
        .waits
        .iter_mut()
        .find(|wait| wait.transport == Transport::Sse && wait.heartbeat_s == Some(20.0))
        .unwrap();
    (twenty.end, twenty.open_s, twenty.silent_s, twenty.beats) = (End::Rst, 30.0, 10.0, 1);
    let advice = Advice::of(&found);
    assert_eq!(kinds(&found), [Kind::Lifetime]);
    assert!(advice.problems[0].said.contains("30.0 s (reset with RST)"));
    assert_eq!(
        safe(&found),
        [Some(true), Some(true), Some(false), Some(true)]
    );
}

#[test]
fn an_upgrade_that_does_not_pass_concerns_the_websocket_alone() {
    for (upgrade, says) in [
        (
            Upgrade::Answered {
                status: 426,
                says: "this is a WebSocket endpoint".into(),
            },
            "without Upgrade and Connection",
        ),
        (
            Upgrade::Answered {
                status: 403,
                says: String::new(),
            },
            "403 is answered instead of 101",
        ),
        (
            Upgrade::Ended {
                how: End::Rst.to_string(),
            },
            "reset with RST",
        ),
    ] {
        let mut found = healthy();
        found.upgrade = Some(upgrade);
        found.waits.retain(|wait| wait.transport != Transport::Ws);
        let advice = Advice::of(&found);
        assert_eq!(kinds(&found), [Kind::Upgrade]);
        assert!(advice.problems[0].said.contains(says), "{advice:?}");
        assert_eq!(
            safe(&found),
            [Some(true), Some(true), Some(true), Some(false)]
        );
    }
}

#[test]
fn several_servers_make_everything_unsafe() {
    let mut found = healthy();
    found.servers = Some(Servers {
        asked: 6,
        different: 2,
        cursor_unknown: 3,
    });
    let advice = Advice::of(&found);
    assert_eq!(kinds(&found), [Kind::Servers]);
    assert!(advice.problems[0].said.contains("2 servers answer"));
    assert!(advice.problems[0].said.contains("unknown at another"));
    assert_eq!(safe(&found), [Some(false); 4]);
}

#[test]
fn a_stream_that_is_held_back_is_named_and_only_it() {
    for (first_ms, message_ms) in [(None, None), (Some(3.0), None)] {
        let mut found = healthy();
        let stream = found.stream.as_mut().unwrap();
        (stream.first_ms, stream.message_ms) = (first_ms, message_ms);
        // No message comes over what is held back: that tells nothing of a cut.
        for wait in &mut found.waits {
            if wait.transport == Transport::Sse {
                (wait.end, wait.silent_s) = (End::Silent, 10.0);
            }
        }
        assert_eq!(kinds(&found), [Kind::Buffering]);
        assert_eq!(safe(&found)[2], Some(false));
    }
}

#[test]
fn a_page_that_is_refused_concerns_all_and_so_does_a_path_without_a_way_up() {
    let mut found = healthy();
    found.page = Some(Page::Foreign {
        status: 403,
        says: "a page of another origin".into(),
    });
    assert_eq!(
        (kinds(&found), safe(&found)),
        (vec![Kind::Host], [Some(false); 4])
    );
    found.page = Some(Page::Refused {
        says: "403 Forbidden".into(),
    });
    assert_eq!(kinds(&found), [Kind::Refused]);
}

#[test]
fn a_header_matters_only_where_something_depends_on_it() {
    let header = |name, of| Header {
        name,
        of,
        fate: Fate::Lost,
    };
    let mut found = healthy();
    found.headers = vec![
        header("x-accel-buffering", Transport::Sse),
        header("etag", Transport::ShortPoll),
        header("if-none-match", Transport::ShortPoll),
    ];
    assert_eq!((kinds(&found), safe(&found)), (vec![], ALL));
    found.headers.push(header("last-event-id", Transport::Sse));
    assert_eq!(kinds(&found), [Kind::Headers]);
    assert_eq!(safe(&found)[2], Some(false));
}

#[test]
fn what_was_not_reached_is_unknown_and_what_was_tried_is_told_as_far_as_it_was() {
    let mut found = healthy();
    found.interrupted = true;
    for wait in &mut found.waits {
        (wait.end, wait.silent_s) = (End::StillOpen, 0.0);
    }
    assert_eq!(safe(&found), [Some(true), None, None, None]);
    assert!(!Advice::of(&found).is_good());

    let mut found = healthy();
    found.up_to_s = 4.0;
    for wait in &mut found.waits {
        wait.silent_s = 4.0;
    }
    let advice = Advice::of(&found);
    assert!(advice.is_good(), "{advice:?}");
    for verdict in &advice.transports[1..] {
        assert!(
            verdict.said.starts_with("as far as was tried"),
            "{verdict:?}"
        );
    }
}

#[test]
fn a_cut_that_nobody_is_told_of_is_one() {
    let mut found = cut_after(Transport::Ws, 10.0);
    for wait in &mut found.waits {
        if wait.end == End::Fin {
            wait.end = End::Silent;
        }
    }
    assert_eq!(kinds(&found), [Kind::IdleSocket]);
    found.servers.as_mut().unwrap().different = 2;
    assert_eq!(
        kinds(&found),
        [Kind::Servers],
        "the message may have gone to the other one"
    );
}

#[test]
fn a_sign_of_life_at_the_moment_of_the_cut_is_a_race_that_was_lost_and_no_limit_of_the_whole_life()
{
    let mut found = cut_after(Transport::Ws, 60.0);
    found.stream.as_mut().unwrap().heartbeat_s = Some(60.0);
    let sixty = found.waits.last_mut().unwrap();
    (sixty.end, sixty.open_s, sixty.silent_s, sixty.beats) = (End::Fin, 60.0, 0.0, 1);
    assert_eq!(kinds(&found), [Kind::IdleSocket]);
    assert_eq!(cut(&found, Transport::Ws).unwrap().silent_s, 60.0);
}
