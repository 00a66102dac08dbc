//! How clients that lost their connections came back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::histogram::Times;

/// Of a trial in which connections are cut on purpose.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// Connections that ended in the trial, those cut on purpose and all others.
    pub lost: u64,
    /// Those that were cut on purpose.
    pub planned: u64,
    /// From the end of a connection to the first byte of the one after it.
    pub back: Times,
    /// Clients that were not back at the end.
    pub away: u64,
    /// The most attempts to connect within 100 ms, once the load had begun.
    pub peak_connects: u64,
    /// Deliveries that took more than a second, and a poll's interval.
    pub behind: u64,
}

impl Recovery {
    /// Adds another trial of the same transport.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            lost,
            planned,
            back,
            away,
            peak_connects,
            behind,
        } = other;
        self.lost += lost;
        self.planned += planned;
        self.back.add(back);
        self.away += away;
        self.peak_connects = self.peak_connects.max(*peak_connects);
        self.behind += behind;
    }
}
