//! The trials of each transport brought together over the blocks: what every kind of report shows.

use super::comparison::{Comparison, Trial};
use super::outcome::Outcome;
use super::variant::Variant;
use super::verdict::Kind;

/// How long the i-th second of a window is, in seconds: the last may be a part of one. Nothing beyond the window.
pub fn length_of_second(i: usize, window: f64) -> Option<f64> {
    let length = (window - i as f64).min(1.0);
    (length > 0.0).then_some(length)
}

/// One row in a comparison.
pub struct Summary {
    /// The row.
    pub variant: Variant,
    /// Its valid trials merged; all of them if none is valid.
    pub outcome: Outcome,
    /// How many trials are merged.
    pub merged: usize,
    /// How many trials are valid.
    pub valid: usize,
    /// How many there are.
    pub trials: usize,
    /// Valid, or why the first trial that is not valid is not.
    pub kind: Kind,
    /// What all of its trials miss.
    pub missing: Missing,
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
        let valid: Vec<&Trial> = trials
            .iter()
            .copied()
            .filter(|trial| trial.verdict.kind == Kind::Valid)
            .collect();
        let counted = if valid.is_empty() { &trials } else { &valid };
        let (first, others) = counted.split_first()?;
        let mut outcome = first.outcome.clone();
        others
            .iter()
            .for_each(|trial| outcome.merge(&trial.outcome));
        // What went wrong is never left out, whatever the measurement is worth.
        outcome.audit = trials.iter().map(|trial| trial.outcome.audit).sum();
        let kind = if valid.is_empty() {
            first.verdict.kind
        } else {
            Kind::Valid
        };
        let missing = Missing::of(trials.iter().copied());
        Some(Self {
            variant,
            outcome,
            merged: counted.len(),
            valid: valid.len(),
            trials: trials.len(),
            kind,
            missing,
        })
    }

    /// Whether its measurement may be believed at all.
    pub fn is_valid(&self) -> bool {
        self.kind == Kind::Valid
    }

    /// Whether no message of its trials is missing: who drops messages has less to do.
    pub fn is_whole(&self) -> bool {
        self.missing.trials == 0
    }

    /// Whether its figures stand beside those of others.
    pub fn is_sound(&self) -> bool {
        self.is_valid() && self.is_whole()
    }

    /// The head of its column.
    pub fn head(&self) -> String {
        format!(
            "{}{}",
            self.variant,
            if self.is_whole() { "" } else { ", INCOMPLETE" }
        )
    }

    /// The verdict in words.
    pub fn verdict(&self) -> String {
        let measured = match self.trials {
            1 => self.kind.to_string(),
            trials if self.is_valid() => format!("valid, {} of {trials}", self.valid),
            trials => format!("0 of {trials} valid, first {}", self.kind),
        };
        format!(
            "{measured}{}",
            if self.is_whole() {
                ""
            } else {
                "; messages missing"
            }
        )
    }

    /// Deliveries per second, in each second of the window, of which this many were planned; averaged over the merged
    /// trials.
    pub fn flow(&self, planned: f64) -> impl Iterator<Item = f64> + '_ {
        let seconds = self.outcome.seconds(planned);
        let rate = move |(i, &n): (usize, &u64)| {
            Some(n as f64 / length_of_second(i, seconds)? / self.merged as f64)
        };
        self.outcome.series.iter().enumerate().map_while(rate)
    }
}
