use super::*;
use crate::client::Transport;
use crate::measure::audit::Audit;
use crate::outcome::{Connections, Publishing};

const MS: u64 = 1_000_000;

fn times(ms: u64) -> Times {
    let mut times = Times::default();
    (0..1000).for_each(|_| times.record(ms * MS));
    times
}

fn healthy() -> Outcome {
    let publishing = Publishing { scheduled: 1000, paced: 1000, sent: 1000, acked: 1000, ..Publishing::default() };
    Outcome {
        mode: Transport::Ws,
        end: End::Completed,
        connections: Connections { wanted: 10, connected: 10, lost: 0 },
        publishing: Publishing { lag: times(0), own_lag: times(0), acks: times(1), ..publishing },
        owed: 10_000,
        delivered: 10_000,
        audit: Audit::default(),
        latency: times(1),
        polls: Times::default(),
        connects: Times::default(),
        lateness: times(1),
        wait_ks: None,
        series: Vec::new(),
        ledger: crate::measure::ledger::Ledger::default(),
        loadgen_cores: 1,
        failures: std::collections::BTreeMap::new(),
        negative: 0,
    }
}

fn kind(change: impl FnOnce(&mut Outcome)) -> Kind {
    let mut outcome = healthy();
    change(&mut outcome);
    Verdict::of(&outcome).kind
}

#[test]
fn what_the_server_does_badly_leaves_the_verdict_valid() {
    assert_eq!(kind(|_| {}), Kind::Valid);
    assert_eq!(kind(|o| o.latency = times(5_000)), Kind::Valid, "slow");
    assert_eq!(kind(|o| (o.delivered, o.audit.lost) = (9_000, 1_000)), Kind::Valid, "lossy");
    assert_eq!(kind(|o| (o.publishing.lag, o.publishing.sent) = (times(900), 500)), Kind::Valid, "stalled");
}

#[test]
fn what_loadgen_does_badly_is_said_of_loadgen() {
    assert_eq!(kind(|o| o.publishing.own_lag = times(4)), Kind::GeneratorLimited);
    assert_eq!(kind(|o| o.publishing.paced = 900), Kind::GeneratorLimited);
    assert_eq!(kind(|o| o.lateness = times(6)), Kind::GeneratorLimited);
    assert_eq!(kind(|o| o.lateness.record(200 * MS)), Kind::GeneratorLimited);
    assert_eq!(kind(|o| o.connections.connected = 9), Kind::GeneratorLimited);
    assert_eq!(kind(|o| o.connections.lost = 1), Kind::GeneratorLimited);
    assert_eq!(kind(|o| o.negative = 1), Kind::GeneratorLimited);
    assert_eq!(kind(|o| (o.ledger.loadgen_cpu_ns, o.ledger.seconds) = (Some(900 * MS), 1.0)), Kind::GeneratorLimited);
}

#[test]
fn the_other_reasons_have_names_of_their_own() {
    assert_eq!(kind(|o| o.wait_ks = Some(0.2)), Kind::ScheduleOff);
    assert_eq!(kind(|o| (o.wait_ks, o.publishing.acked) = (Some(0.2), 60)), Kind::Valid, "few messages are uneven");
    assert_eq!(kind(|o| o.publishing.acked = 0), Kind::NothingMeasured);
    assert_eq!(kind(|o| o.end = End::Interrupted), Kind::Interrupted);
    assert_eq!(kind(|o| o.end = End::Broken("gone".into())), Kind::Broken);
}
