//! Judging what came out: may the measurement be believed (`verdict`), what do several say together (`statistics`),
//! does it agree with theory (`theory`), and how far does it scatter by itself (`spread`). Reads saved data and nothing else.

pub mod spread;
pub mod statistics;
pub mod theory;
pub mod verdict;

use crate::result::comparison::Comparison;
use crate::result::known::KnownAnswers;
use crate::result::summary::Summary;
use crate::result::verdict::Guard;

/// Computes anew what follows from the trials of a comparison together.
pub fn compare(comparison: &mut Comparison) {
    comparison.effects = statistics::effects(comparison);
    comparison.components = spread::components(comparison);
    comparison.contrasts = spread::contrasts(comparison);
    let answers = |summary: &Summary| KnownAnswers {
        variant: summary.variant,
        answers: theory::answers(summary.outcome(Guard::Median), &comparison.scenario),
    };
    comparison.known_answers = Summary::of(comparison).iter().map(answers).collect();
}
