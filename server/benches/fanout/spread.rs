//! Several measurements of the same thing, and the bars that they are held against.

use std::fmt;

/// The median of several measurements, and how far they lie apart.
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// The bars that were set; which of them were missed is said where they stand and at the end.
#[derive(Default)]
pub(crate) struct Bars {
    set: usize,
    missed: usize,
}

impl Bars {
    /// A figure that is to be at most this.
    pub(crate) fn at_most(&mut self, figure: &Spread, bar: f64) -> String {
        let is_met = figure.median() <= bar;
        self.set(figure, bar, is_met)
    }

    /// A figure that is to be at least this.
    pub(crate) fn at_least(&mut self, figure: &Spread, bar: f64) -> String {
        let is_met = figure.median() >= bar;
        self.set(figure, bar, is_met)
    }

    fn set(&mut self, figure: &Spread, bar: f64, is_met: bool) -> String {
        self.set += 1;
        self.missed += usize::from(!is_met);
        format!(
            "{figure} (bar {bar:.2}{})",
            if is_met { "" } else { ", MISSED" }
        )
    }

    /// Whether any was missed.
    pub(crate) fn are_missed(&self) -> bool {
        self.missed > 0
    }
}

impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bars are met", self.set - self.missed, self.set)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else {
            return f.write_str("nothing");
        };
        write!(
            f,
            "{:.2} [{least:.2} .. {most:.2}]",
            self.0[self.0.len() / 2]
        )
    }
}
