//! What can be told of a settled trial beside its account: how messages spread, how steady it was, what theory needs.

use std::collections::HashMap;

use super::{Charged, Evidence, RoomRecord};
use crate::clock::{Nanos, nanos};
use crate::load::publishers::Publication;
use crate::measure::recorder::{Recorder, Subscriber};
use crate::pacer::Cadence;
use crate::result::histogram::Times;
use crate::result::outcome::{Followed, Realised};
use crate::result::scenario::Scenario;
use crate::result::variant::{Transport, Variant};

/// From due to the last subscriber, of every message acked and due within the window.
pub(super) fn last(recorders: &[Recorder], evidence: &Evidence, charged: &Charged) -> Times {
    let mut latest: HashMap<(u32, u32), Nanos> = HashMap::new();
    for room in recorders.iter().flat_map(|recorder| &recorder.rooms) {
        for (number, message) in (0..)
            .zip(&room.messages)
            .filter(|(_, message)| message.came > 0)
        {
            let last = latest.entry((room.room, number)).or_default();
            *last = message.last.max(*last);
        }
    }
    let mut times = Times::default();
    for Publication { message, acked, .. } in &evidence.publishers.publications {
        if acked.is_ok() && evidence.is_measured(message.due) {
            let never = charged.incomplete.contains(&message.due);
            let last = if never {
                Some(evidence.deadline(message.due))
            } else {
                latest.get(&message.key()).copied()
            };
            if let Some(last) = last {
                times.record(last.saturating_sub(message.due));
            }
        }
    }
    times
}

pub(super) fn followed(subscriber: &Subscriber) -> Option<Followed> {
    let mut samples = subscriber
        .samples
        .clone()
        .filter(|samples| !samples.is_empty())?;
    samples.sort_unstable();
    let at = |share: f64| samples[((samples.len() as f64 * share) as usize).min(samples.len() - 1)];
    Some(Followed {
        count: samples.len() as u64,
        p50_us: at(0.5),
        p99_us: at(0.99),
    })
}

/// By how many percent the medians of the halves of a window differ. A stall of the server is no drift: it lifts the
/// median of its half, but not the median of the medians of that half's slices; so the smaller of both differences.
pub(super) fn drift(slices: &[Times]) -> Option<f64> {
    let half = slices.len() / 2;
    let middle = |times: &Times| Some(times.quantile(0.5)?.as_secs_f64());
    let whole = |part: &[Times]| middle(&Times::merged(part.iter()));
    let typical = |part: &[Times]| {
        let mut medians: Vec<f64> = part.iter().filter_map(middle).collect();
        medians.sort_unstable_by(f64::total_cmp);
        medians.get(medians.len().saturating_sub(1) / 2).copied()
    };
    let apart = |a: f64, b: f64| 100.0 * (a.max(b) / a.min(b).max(1e-6) - 1.0);
    let (first, second) = (&slices[..half], &slices[slices.len() - half..]);
    Some(apart(whole(first)?, whole(second)?).min(apart(typical(first)?, typical(second)?)))
}

/// By the room and the number of a message: when it was acked.
pub(super) type Acks = HashMap<(u32, u32), Nanos>;

pub(super) fn acks(evidence: &Evidence) -> Acks {
    let publications = evidence.publishers.publications.iter();
    let ack = |done: &Publication| Some((done.message.key(), done.acked.as_ref().ok()?.at));
    publications.filter_map(ack).collect()
}

/// The waits of short polls, from ack to the tick that fetched the message, against U(0, interval).
pub(super) fn wait_ks(scenario: &Scenario, acks: &Acks, recorders: &[Recorder]) -> Option<f64> {
    // The ack takes a way down, and the question one up.
    let trip = nanos(scenario.trip()) as f64;
    let waits = recorders.iter().flat_map(|recorder| &recorder.waits);
    let mut waits: Vec<f64> = waits
        .filter_map(|wait| Some(wait.asked as f64 + trip - *acks.get(&wait.message.key())? as f64))
        .collect();
    ks_uniform(&mut waits, nanos(scenario.interval) as f64)
}

pub(super) fn realised(
    variant: Variant,
    scenario: &Scenario,
    evidence: &Evidence,
    acks: &Acks,
    recorders: &[Recorder],
    rooms: &[RoomRecord],
) -> Realised {
    let mut realised = Realised::default();
    if variant.mode != Transport::ShortPoll {
        return realised;
    }
    let trip = nanos(scenario.trip());
    for wait in recorders.iter().flat_map(|recorder| &recorder.waits) {
        if let Some(acked) = acks.get(&wait.message.key()) {
            let path = acked.saturating_sub(wait.message.due);
            let both = path + wait.received.saturating_sub(wait.asked);
            // The message does not wait for its ack, nor the question for its way.
            realised.base.record(both.saturating_sub(trip));
        }
    }
    for client in 0..scenario.clients {
        let (cadence, room) = (
            Cadence::of(scenario, client),
            &rooms[scenario.room_of(client) as usize],
        );
        let ticks = |time: Nanos| cadence.tick_after(time) / nanos(scenario.interval);
        for window in &evidence.windows {
            let (first, last) = (
                ticks(window.start.saturating_sub(1)),
                ticks(window.end.saturating_sub(1)),
            );
            let due = last.saturating_sub(first);
            let mut found: Vec<Nanos> = room
                .acked
                .iter()
                .map(|&at| cadence.tick_after(at.saturating_sub(trip)))
                .collect();
            found.retain(|tick| window.contains(tick));
            found.sort_unstable();
            found.dedup();
            realised.polls += due;
            realised.empties += due.saturating_sub(found.len() as u64);
        }
    }
    realised
}

/// The Kolmogorov-Smirnov distance of a sample from U(0, `width`): the largest difference of the two distribution
/// functions, 0 to 1. `None` for an empty sample.
///
/// A short poll's wait, from when its message is there to the poll that fetches it, is U(0, interval) if polls and
/// publishes do not know of each other.
fn ks_uniform(sample: &mut [f64], width: f64) -> Option<f64> {
    sample.sort_unstable_by(f64::total_cmp);
    let n = sample.len() as f64;
    let distances = sample.iter().enumerate().map(|(i, &x)| {
        let expected = (x / width).clamp(0.0, 1.0);
        (expected - i as f64 / n)
            .abs()
            .max(((i + 1) as f64 / n - expected).abs())
    });
    distances.reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_sample_is_near_and_a_shifted_one_is_as_far_as_its_shift() {
        let even = |shift: f64| {
            (0..1000)
                .map(move |i| f64::from(i) + 0.5 + shift)
                .collect::<Vec<_>>()
        };
        assert!(ks_uniform(&mut even(0.0), 1000.0).unwrap() < 0.001);
        assert!((ks_uniform(&mut even(100.0), 1000.0).unwrap() - 0.1).abs() < 0.001);
        assert!((ks_uniform(&mut even(-100.0), 1000.0).unwrap() - 0.1).abs() < 0.001);
    }

    #[test]
    fn polls_in_phase_with_the_publishes_are_far_from_uniform() {
        assert!(ks_uniform(&mut [500.0; 100], 1000.0).unwrap() >= 0.5);
        assert_eq!(ks_uniform(&mut [], 1000.0), None);
    }
}
