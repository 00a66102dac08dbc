//! The trials of each transport brought together over the blocks: what every kind of report shows.

use super::comparison::{Comparison, Trial};
use super::metric::Metric;
use super::outcome::Outcome;
use super::variant::Variant;
use super::verdict::{Guard, Kind};

/// How long the i-th second of a window is, in seconds: the last may be a part of one. Nothing beyond the window.
pub fn length_of_second(i: usize, window: f64) -> Option<f64> {
    let length = (window - i as f64).min(1.0);
    (length > 0.0).then_some(length)
}

/// One row in a comparison. Which of its trials count depends on the figure: those in which it stands, or all of them if
/// it stands in none.
pub struct Summary {
    /// The row.
    pub variant: Variant,
    /// How many trials there are.
    pub trials: usize,
    /// What all of its trials miss.
    pub missing: Missing,
    /// Why the first trial is not valid, if it is not.
    kind: Kind,
    /// The trials that count for each guard, merged; guards that the same trials count for share them.
    merged: Vec<Merged>,
    /// By guard: which of those, and in how many trials it stands.
    guards: Vec<(Guard, usize, usize)>,
}

/// Some trials of a row together.
struct Merged {
    outcome: Outcome,
    trials: Vec<usize>,
}

/// What never came, in all trials of a row, whatever the measurement is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing {
    /// In how many trials.
    pub trials: u64,
    /// Deliveries of the measuring windows that were expected.
    pub expected: u64,
    /// Those of them that are missing.
    pub undelivered: u64,
    /// Deliveries of the whole trials that the server accepted and did not make.
    pub lost: u64,
}

impl Missing {
    /// Sums it up over trials.
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Self {
        let mut sum = Self::default();
        for outcome in trials.into_iter().map(|trial| &trial.outcome) {
            sum.expected += outcome.expected;
            if outcome.misses() {
                sum.trials += 1;
                sum.undelivered += outcome.expected.saturating_sub(outcome.delivered);
                sum.lost += outcome.audit.lost;
            }
        }
        sum
    }
}

impl Summary {
    /// The rows of a comparison; a control is not part of its transport's.
    pub fn of(comparison: &Comparison) -> Vec<Self> {
        comparison
            .variants
            .iter()
            .filter_map(|&variant| Self::merge(variant, &comparison.trials))
            .collect()
    }

    fn merge(variant: Variant, trials: &[Trial]) -> Option<Self> {
        let trials: Vec<&Trial> = trials
            .iter()
            .filter(|trial| trial.outcome.variant == variant && !trial.control)
            .collect();
        let first = trials.first()?;
        let (mut merged, mut guards): (Vec<Merged>, _) = (Vec::new(), Vec::new());
        for guard in Guard::ALL {
            let stands = |i: &usize| trials[*i].verdict.stands(guard);
            let mut counted: Vec<usize> = (0..trials.len()).filter(stands).collect();
            let standing = counted.len();
            if counted.is_empty() {
                counted = (0..trials.len()).collect();
            }
            let place = merged.iter().position(|merged| merged.trials == counted);
            let place = place.unwrap_or_else(|| {
                merged.push(Merged::of(&trials, counted));
                merged.len() - 1
            });
            guards.push((guard, place, standing));
        }
        Some(Self {
            variant,
            trials: trials.len(),
            missing: Missing::of(trials.iter().copied()),
            kind: first.verdict.kind,
            merged,
            guards,
        })
    }

    /// In how many trials such figures stand, and those that count for them.
    fn guarded(&self, guard: Guard) -> (usize, &Merged) {
        let found = self.guards.iter().find(|(of, ..)| *of == guard);
        let (_, place, standing) = found.expect("every guard is there");
        (*standing, &self.merged[*place])
    }

    /// The trials that count for such figures, merged.
    pub fn outcome(&self, guard: Guard) -> &Outcome {
        &self.guarded(guard).1.outcome
    }

    /// How many those are.
    pub fn merged(&self, guard: Guard) -> usize {
        self.guarded(guard).1.trials.len()
    }

    /// A figure, of the trials that count for it.
    pub fn value(&self, metric: &Metric) -> Option<f64> {
        (metric.read)(self.outcome(metric.guard))
    }

    /// Whether such figures stand in one of its trials at least.
    pub fn stands(&self, guard: Guard) -> bool {
        self.guarded(guard).0 > 0
    }

    /// Whether no message of its trials is missing: who drops messages has less to do.
    pub fn is_whole(&self) -> bool {
        self.missing.trials == 0
    }

    /// Whether such figures stand beside those of others.
    pub fn is_sound(&self, guard: Guard) -> bool {
        self.stands(guard) && self.is_whole()
    }

    /// The head of its column.
    pub fn head(&self) -> String {
        format!(
            "{}{}",
            self.variant,
            if self.is_whole() { "" } else { ", INCOMPLETE" }
        )
    }

    /// The verdict in words: what does not stand in all of its trials, and in how many it does.
    pub fn verdict(&self) -> String {
        let trials = self.trials;
        let partly = |guard: &Guard| self.guarded(*guard).0 < trials;
        let doubted: Vec<Guard> = Guard::ALL.into_iter().filter(partly).collect();
        let none = Guard::ALL.iter().all(|guard| !self.stands(*guard));
        let measured = match (trials, &doubted[..]) {
            (1, []) => "valid".into(),
            (_, []) => format!("valid, {trials} of {trials}"),
            (1, _) if none => self.kind.to_string(),
            (_, _) if none => format!("0 of {trials} valid, first {}", self.kind),
            (1, doubted) => {
                let names: Vec<String> = doubted.iter().map(ToString::to_string).collect();
                format!("valid but for {}", names.join(", "))
            }
            (_, doubted) => {
                let found = |guard: &Guard| format!("{guard} in {}", self.guarded(*guard).0);
                let found: Vec<String> = doubted.iter().map(found).collect();
                format!("{} of {trials}", found.join(", "))
            }
        };
        let missing = if self.is_whole() {
            ""
        } else {
            "; messages missing"
        };
        format!("{measured}{missing}")
    }

    /// Deliveries per second, in each second of the window, of which this many were planned; averaged over the
    /// trials that count.
    pub fn flow(&self, planned: f64) -> impl Iterator<Item = f64> + '_ {
        let counted = self.guarded(Guard::Counts).1;
        let (seconds, trials) = (counted.outcome.seconds(planned), counted.trials.len());
        let rate = move |(i, &n): (usize, &u64)| {
            Some(n as f64 / length_of_second(i, seconds)? / trials as f64)
        };
        counted.outcome.series.iter().enumerate().map_while(rate)
    }
}

impl Merged {
    fn of(trials: &[&Trial], counted: Vec<usize>) -> Self {
        let (first, others) = counted.split_first().expect("a row has a trial");
        let mut outcome = trials[*first].outcome.clone();
        others
            .iter()
            .for_each(|other| outcome.merge(&trials[*other].outcome));
        // What went wrong is never left out, whatever the measurement is worth.
        outcome.audit = trials.iter().map(|trial| trial.outcome.audit).sum();
        Self {
            outcome,
            trials: counted,
        }
    }
}
