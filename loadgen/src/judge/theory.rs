//! Known answers. Agreement with them validates the clockwork of loadgen, not anybody's network.
//!
//! Symbols as in the literature of polling: T interval, N subscribers of a room, L messages per second that one of them
//! gets, W hold, c cost of one send, m bytes of a message.

use crate::result::histogram::Times;
use crate::result::known::KnownAnswer;
use crate::result::outcome::Outcome;
use crate::result::scenario::{GOLDEN, Scenario};
use crate::result::variant::Transport;

/// A distribution is stood for by this many of its quantiles.
const POINTS: usize = 500;

/// What theory says of a transport's trials.
pub fn answers(outcome: &Outcome, scenario: &Scenario) -> Vec<KnownAnswer> {
    let latency = &outcome.latency;
    let gap = Gap::of(outcome, scenario);
    let (Some(predicted), Some(median)) =
        (predicted(outcome, scenario, &gap), latency.points(1).pop())
    else {
        return Vec::new();
    };
    let (mean, spread) = latency.moments();
    let tolerance = Some(0.05).filter(|_| outcome.variant.mode == Transport::ShortPoll);
    let distance = predicted.ks(latency);
    let mut answers = vec![
        shown(MEAN, predicted.mean(), mean),
        shown(SPREAD, predicted.spread(), spread),
        shown(MEDIAN, predicted.quantile(0.5), median),
        within(tolerance, shown(DISTANCE, 0.0, distance)),
    ];
    answers.extend(polling(outcome, scenario, &gap));
    // Of nothing there is no mean, and no share of it.
    answers.retain(|answer| answer.predicted.is_finite() && answer.measured.is_finite());
    answers
}

/// What theory says of the requests of polls.
fn polling(outcome: &Outcome, scenario: &Scenario, gap: &Gap) -> Vec<KnownAnswer> {
    let Outcome {
        realised, usage, ..
    } = outcome;
    let requests = usage.traffic.requests as f64;
    let empty = 100.0 * usage.traffic.empties as f64 / requests.max(1.0);
    match outcome.variant.mode {
        Transport::ShortPoll => {
            let polls = scenario.clients as f64 / scenario.interval.as_secs_f64();
            let expected = 100.0 * realised.empties as f64 / realised.polls.max(1) as f64;
            let per_second = shown(REQUESTS, polls, requests / usage.seconds);
            vec![
                within(Some(0.01 * polls), per_second),
                within(Some(0.5), shown(EMPTY, expected, empty)),
            ]
        }
        Transport::LongPoll => {
            let timeouts = (-scenario.rate * (gap.length + scenario.hold.as_secs_f64())).exp();
            let per_answer = usage.deliveries as f64 / requests;
            vec![
                shown(TIMEOUTS, 100.0 * timeouts, empty),
                shown(BATCHES, scenario.rate * gap.cycle, per_answer),
            ]
        }
        _ => Vec::new(),
    }
}

/// The id of a known answer, and of what it is one.
type Of = (&'static str, &'static str);
const MEAN: Of = ("latency_mean_ms", "latency mean, ms");
const SPREAD: Of = ("latency_sd_ms", "latency standard deviation, ms");
const MEDIAN: Of = ("latency_p50_ms", "latency p50, ms");
const DISTANCE: Of = ("latency_ks", "distance of the two distributions, KS");
const REQUESTS: Of = ("requests_per_second", "requests per second, N/T");
const EMPTY: Of = ("empty_answers_percent", "empty answers, %");
const TIMEOUTS: Of = ("timeouts_percent", "timeouts, % of answers");
const BATCHES: Of = ("messages_per_answer", "messages per answer");

/// An answer that is only shown.
fn shown((id, what): Of, predicted: f64, measured: f64) -> KnownAnswer {
    KnownAnswer {
        id: id.into(),
        what: what.into(),
        predicted,
        measured,
        tolerance: None,
    }
}

/// The same, to be near what is predicted.
fn within(tolerance: Option<f64>, answer: KnownAnswer) -> KnownAnswer {
    KnownAnswer {
        tolerance,
        ..answer
    }
}

/// Between an answer and the next question of a long poll.
struct Gap {
    /// One exchange, in seconds: as long as publishing took, from due to acked.
    length: f64,
    /// From question to question, in seconds.
    cycle: f64,
}

impl Gap {
    fn of(outcome: &Outcome, scenario: &Scenario) -> Self {
        let (each, hold) = (scenario.rate, scenario.hold.as_secs_f64());
        let length = outcome
            .publishing
            .acks
            .quantile(0.5)
            .unwrap_or_default()
            .as_secs_f64();
        let cycle = length + (-each * length).exp() * (1.0 - (-each * hold).exp()) / each;
        Self { length, cycle }
    }
}

/// A predicted distribution: a base, and a wait evenly spread over a width on top; in milliseconds.
struct Predicted {
    base: Vec<f64>,
    width: f64,
}

/// A poll waits U(0, T) on top of the publish path and one request, both measured in the same trials. Where the server
/// sends, the i-th of N subscribers waits i c on top of the publish path; and who asks again after each answer is with a
/// probability of gap/cycle between two questions, and then waits U(0, gap) more.
fn predicted(outcome: &Outcome, scenario: &Scenario, gap: &Gap) -> Option<Predicted> {
    let (base, width) = match outcome.variant.mode {
        Transport::ShortPoll => (
            &outcome.realised.base,
            scenario.interval.as_secs_f64() * 1e3,
        ),
        _ => {
            let cost = outcome.usage.us(outcome.usage.serving_ns())? / 1e3;
            (&outcome.publishing.acks, scenario.room_size() as f64 * cost)
        }
    };
    let mut base = base.points(POINTS);
    if outcome.variant.mode == Transport::LongPoll {
        let late = (base.len() as f64 * gap.length / gap.cycle) as usize;
        for i in 0..late {
            let at = i * base.len() / late;
            base[at] += 1e3 * gap.length * (i as f64 * GOLDEN).fract();
        }
    }
    (!base.is_empty()).then_some(Predicted { base, width })
}

impl Predicted {
    fn mean(&self) -> f64 {
        self.base.iter().sum::<f64>() / self.base.len() as f64 + self.width / 2.0
    }

    fn spread(&self) -> f64 {
        let mean = self.mean() - self.width / 2.0;
        let variance =
            self.base.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / self.base.len() as f64;
        (variance + self.width.powi(2) / 12.0).sqrt()
    }

    /// F(x) = (1/T) integral from 0 to T of F_B(x - u) du.
    fn share_within(&self, ms: f64) -> f64 {
        let within = |base: &f64| ((ms - base) / self.width.max(1e-9)).clamp(0.0, 1.0);
        self.base.iter().map(within).sum::<f64>() / self.base.len() as f64
    }

    fn quantile(&self, share: f64) -> f64 {
        let (mut low, mut high) = (
            0.0,
            self.base.iter().fold(0.0, |a: f64, &b| a.max(b)) + self.width,
        );
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.share_within(middle) < share {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    fn ks(&self, measured: &Times) -> f64 {
        let points = measured.points(POINTS).into_iter();
        points
            .map(|ms| (self.share_within(ms) - measured.share_within(ms)).abs())
            .fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests;
