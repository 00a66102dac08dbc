//! Known answers. Agreement with them validates the clockwork of loadgen, not anybody's network.
//!
//! Symbols as in the literature of polling: T interval, N subscribers of a room, L messages per second that one of them
//! gets, W hold, c cost of one send, m bytes of a message.

use crate::client::Transport;
use crate::measure::histogram::Times;
use crate::outcome::Outcome;
use crate::scenario::Scenario;

/// A distribution is stood for by so many of its quantiles.
const POINTS: usize = 500;

/// A prediction beside what was measured.
#[derive(Debug, Clone)]
pub struct Check {
    /// Of what, with its unit.
    pub what: &'static str,
    /// By theory.
    pub predicted: f64,
    /// In the trials.
    pub measured: f64,
    /// By how much both may differ where theory is near-exact; elsewhere it is only shown.
    pub tolerance: Option<f64>,
}

impl Check {
    /// Whether both agree, where they must.
    pub fn holds(&self) -> Option<bool> {
        self.tolerance.map(|tolerance| (self.predicted - self.measured).abs() <= tolerance)
    }
}

/// What theory says of a transport's trials.
pub fn checks(outcome: &Outcome, scenario: &Scenario) -> Vec<Check> {
    let shown = |what, predicted, measured| Check { what, predicted, measured, tolerance: None };
    let exact = |what, predicted: f64, measured, share: f64| Check {
        tolerance: Some(predicted * share),
        ..shown(what, predicted, measured)
    };
    let Outcome { latency, realised, ledger, .. } = outcome;
    let (mean, spread) = latency.moments();
    let mut checks = Vec::new();
    let Some(predicted) = predicted(outcome, scenario) else { return checks };
    checks.push(shown("latency mean, ms", predicted.mean(), mean));
    checks.push(shown("latency standard deviation, ms", predicted.spread(), spread));
    checks.push(shown("latency p50, ms", predicted.quantile(0.5), latency.points(1)[0]));
    let bound = if outcome.lane.mode == Transport::ShortPoll { Some(0.05) } else { None };
    let ks = Check { tolerance: bound, ..shown("distance of the two distributions, KS", 0.0, predicted.ks(latency)) };
    checks.push(ks);
    let requests = ledger.traffic.requests as f64;
    let (per_second, empty) = (requests / ledger.seconds, 100.0 * ledger.traffic.empties as f64 / requests.max(1.0));
    let each = scenario.rate;
    match outcome.lane.mode {
        Transport::ShortPoll => {
            let polls = scenario.clients as f64 / scenario.interval.as_secs_f64();
            checks.push(exact("requests per second, N/T", polls, per_second, 0.01));
            let expected = 100.0 * realised.empties as f64 / realised.polls.max(1) as f64;
            checks.push(Check { tolerance: Some(0.5), ..shown("empty answers, %", expected, empty) });
        }
        Transport::LongPoll => {
            let gap = outcome.publishing.acks.quantile(0.5).unwrap_or_default().as_secs_f64();
            let hold = scenario.hold.as_secs_f64();
            let cycle = gap + (-each * gap).exp() * (1.0 - (-each * hold).exp()) / each;
            checks.push(shown("timeouts, % of answers", 100.0 * (-each * (gap + hold)).exp(), empty));
            checks.push(shown("messages per answer", each * cycle, ledger.deliveries as f64 / requests));
        }
        Transport::Sse | Transport::Ws | Transport::WsStock => {}
    }
    let measured = ledger.per_delivery(ledger.traffic.bytes_in).unwrap_or_default();
    checks.push(exact("bytes to clients per delivery", bytes(outcome, scenario), measured, 0.01));
    checks
}

/// Bytes to a client for each message, from the format alone: message, frame, and for polls the heads of the answers.
fn bytes(outcome: &Outcome, scenario: &Scenario) -> f64 {
    const EPOCH: f64 = 9.0;
    let Outcome { ledger, realised, publishing, .. } = outcome;
    let digits = realised.seq_digits as f64 / publishing.acked.max(1) as f64;
    let fixed = r#"{"seq":,"from":"loadgen","text":"","at":1763900000000}"#.len() + scenario.payload;
    let message = fixed as f64 + digits;
    let traffic = ledger.traffic;
    let (deliveries, full) = (ledger.deliveries.max(1) as f64, (traffic.requests - traffic.empties) as f64);
    match outcome.lane.mode {
        Transport::ShortPoll | Transport::LongPoll => {
            // A comma between messages, and the frame around all of an answer.
            let frame = r#"{"cursor":"","messages":[]}"#.len() as f64 + EPOCH + digits;
            let bodies = deliveries * message + (deliveries - full) + full * frame;
            (bodies + (traffic.heads_full + traffic.heads_empty) as f64) / deliveries
        }
        // The id, the data, the empty line; no chunk around them, for our server sends none.
        Transport::Sse => message + "id: \ndata: \n\n".len() as f64 + EPOCH + digits,
        Transport::Ws | Transport::WsStock => message + if message < 126.0 { 2.0 } else { 4.0 },
    }
}

/// A predicted distribution: a base, and a wait evenly spread over a width on top; in milliseconds.
struct Predicted {
    base: Vec<f64>,
    width: f64,
}

/// A poll waits U(0, T) on top of the publish path and one request, both measured in the same trials. Where the server
/// sends, the i-th of N subscribers waits i c on top of the publish path.
fn predicted(outcome: &Outcome, scenario: &Scenario) -> Option<Predicted> {
    let (base, width) = match outcome.lane.mode {
        Transport::ShortPoll => (&outcome.realised.base, scenario.interval.as_secs_f64() * 1e3),
        _ => {
            let cost = outcome.ledger.us(outcome.ledger.server_cpu_ns)? / 1e3;
            (&outcome.publishing.acks, scenario.room_size() as f64 * cost)
        }
    };
    let base = base.points(POINTS);
    (!base.is_empty()).then_some(Predicted { base, width })
}

impl Predicted {
    fn mean(&self) -> f64 {
        self.base.iter().sum::<f64>() / self.base.len() as f64 + self.width / 2.0
    }

    fn spread(&self) -> f64 {
        let mean = self.mean() - self.width / 2.0;
        let variance = self.base.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / self.base.len() as f64;
        (variance + self.width.powi(2) / 12.0).sqrt()
    }

    /// F(x) = (1/T) integral from 0 to T of F_B(x - u) du.
    fn share_within(&self, ms: f64) -> f64 {
        let within = |base: &f64| ((ms - base) / self.width.max(1e-9)).clamp(0.0, 1.0);
        self.base.iter().map(within).sum::<f64>() / self.base.len() as f64
    }

    fn quantile(&self, share: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.base[self.base.len() - 1] + self.width);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.share_within(middle) < share { low = middle } else { high = middle }
        }
        high
    }

    fn ks(&self, measured: &Times) -> f64 {
        let points = measured.points(POINTS).into_iter();
        points.map(|ms| (self.share_within(ms) - measured.share_within(ms)).abs()).fold(0.0, f64::max)
    }
}

/// The first Wasserstein distance of two samples of one size, each given as its quantiles in order: how far, on
/// average, one has to be moved to be the other.
pub fn w1(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len().max(1) as f64
}

/// The distribution of a sum of two independent quantities, as so many quantiles.
pub fn sum_of(a: &[f64], b: &[f64], points: usize) -> Vec<f64> {
    let mut sums: Vec<f64> = a.iter().flat_map(|a| b.iter().map(move |b| a + b)).collect();
    sums.sort_unstable_by(f64::total_cmp);
    let at = |i: usize| ((i as f64 + 0.5) / points as f64 * sums.len() as f64) as usize;
    (0..points).filter_map(|i| sums.get(at(i)).copied()).collect()
}

/// The Kolmogorov-Smirnov distance of a sample from U(0, `width`): the largest difference of the two distribution
/// functions, 0 to 1. `None` for an empty sample.
///
/// A short poll's wait, from when its message is there to the poll that fetches it, is U(0, interval) if polls and
/// publishes do not know of each other.
pub fn ks_uniform(sample: &mut [f64], width: f64) -> Option<f64> {
    sample.sort_unstable_by(f64::total_cmp);
    let n = sample.len() as f64;
    let distances = sample.iter().enumerate().map(|(i, &x)| {
        let expected = (x / width).clamp(0.0, 1.0);
        (expected - i as f64 / n).abs().max(((i + 1) as f64 / n - expected).abs())
    });
    distances.reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_sample_is_near_and_a_shifted_one_is_as_far_as_its_shift() {
        let even = |shift: f64| (0..1000).map(move |i| f64::from(i) + 0.5 + shift).collect::<Vec<_>>();
        assert!(ks_uniform(&mut even(0.0), 1000.0).unwrap() < 0.001);
        assert!((ks_uniform(&mut even(100.0), 1000.0).unwrap() - 0.1).abs() < 0.001);
        assert!((ks_uniform(&mut even(-100.0), 1000.0).unwrap() - 0.1).abs() < 0.001);
    }

    #[test]
    fn polls_in_phase_with_the_publishes_are_far_from_uniform() {
        assert!(ks_uniform(&mut [500.0; 100], 1000.0).unwrap() >= 0.5);
        assert_eq!(ks_uniform(&mut [], 1000.0), None);
    }

    #[test]
    fn a_shift_is_its_own_distance_and_sums_have_the_sum_of_the_means() {
        let even: Vec<f64> = (0..100).map(|i| f64::from(i) / 10.0).collect();
        let moved: Vec<f64> = even.iter().map(|x| x + 2.5).collect();
        assert!((w1(&even, &moved) - 2.5).abs() < 1e-9);
        let sums = sum_of(&even, &even, 50);
        assert!((sums.iter().sum::<f64>() / 50.0 - 9.9).abs() < 0.05);
    }

    #[test]
    fn an_even_wait_on_a_constant_base_is_a_shifted_uniform() {
        let predicted = Predicted { base: vec![5.0; 10], width: 100.0 };
        assert!((predicted.mean() - 55.0).abs() < 1e-9 && (predicted.quantile(0.9) - 95.0).abs() < 1e-6);
        assert!((predicted.spread() - 100.0 / 12_f64.sqrt()).abs() < 1e-9);
        let mut measured = Times::default();
        (0..10_000_u64).for_each(|i| measured.record(5_000_000 + i * 10_000));
        assert!(predicted.ks(&measured) < 0.005, "{}", predicted.ks(&measured));
    }
}
