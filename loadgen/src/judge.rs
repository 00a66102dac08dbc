//! Judging what came out: may the measurement be believed (`verdict`), what do several say together (`statistics`),
//! does it agree with theory (`theory`), how far does it scatter by itself (`spread`, and the p99: `tail`). Reads saved data and nothing else.

pub mod spread;
pub mod statistics;
pub mod tail;
pub mod theory;
pub mod verdict;

use crate::result::comparison::Comparison;
use crate::result::known::KnownAnswers;
use crate::result::summary::Summary;
use crate::result::verdict::Guard;

/// Computes anew what follows from the trials of a comparison together.
pub fn compare(comparison: &mut Comparison) {
    comparison.effects = statistics::effects(comparison);
    comparison.tails = tail::tails(comparison);
    comparison.components = spread::components(comparison);
    comparison.contrasts = spread::contrasts(comparison);
    let answers = |summary: &Summary| KnownAnswers {
        variant: summary.variant,
        answers: theory::answers(summary.outcome(Guard::Median), &comparison.scenario),
    };
    comparison.known_answers = Summary::of(comparison).iter().map(answers).collect();
}
