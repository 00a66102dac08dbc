//! Known answers: what theory predicts of a row, beside what was measured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::variant::Variant;

/// What theory says of a row.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KnownAnswers {
    /// The row.
    pub variant: Variant,
    /// Each prediction beside what its merged trials have measured.
    pub answers: Vec<KnownAnswer>,
}

/// A prediction beside what was measured.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KnownAnswer {
    /// Its name in the JSON, which does not change.
    pub id: String,
    /// Of what, with its unit.
    pub what: String,
    /// By theory.
    pub predicted: f64,
    /// In the trials.
    pub measured: f64,
    /// By how much both may differ where theory is near-exact; elsewhere it is only shown.
    pub tolerance: Option<f64>,
}

impl KnownAnswer {
    /// Whether both agree, where they must.
    pub fn holds(&self) -> Option<bool> {
        self.tolerance
            .map(|tolerance| (self.predicted - self.measured).abs() <= tolerance)
    }
}
