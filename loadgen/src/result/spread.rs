//! How figures of one and the same server scatter in the sets of a comparison, and what of that has a cause.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::variant::Variant;

/// How a figure of the baseline and of its control scatters, each part as a standard deviation in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Components {
    /// The figure, by its id.
    pub metric: String,
    /// Over how many sets.
    pub sets: usize,
    /// From one server to another of the same kind, within a set.
    pub instance_percent: f64,
    /// From round to round, in both servers alike: a comparison within the set is spared this.
    pub round_percent: f64,
    /// What is left, from slice to slice.
    pub slice_percent: f64,
}

/// Slices of the baseline and its control, of one kind beside those of another: what the control cannot see, for it meets both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Contrast {
    /// What it is, which does not change.
    pub id: String,
    /// The same in words.
    pub what: String,
    /// The figure, by its id.
    pub metric: String,
    /// Sets in which a server had slices of both kinds.
    pub sets: usize,
    /// The ratio of the means, of one kind over the other.
    pub ratio: f64,
    /// Where it lies, with about 95 % confidence.
    pub interval: (f64, f64),
}

/// Where the 99th percentile of a row lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tail {
    /// The row.
    #[serde(flatten)]
    pub variant: Variant,
    /// Of all sets together, in milliseconds.
    pub p99_ms: f64,
    /// It is not below this, with 95 % confidence on both sides together.
    pub from_ms: f64,
    /// Nor above this; nothing where that lies beyond the longest latency that was seen.
    pub to_ms: Option<f64>,
}
