//! Several measurements of the same thing.

use std::fmt;

/// The median of several measurements, and how far they lie apart.
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else { return f.write_str("nothing") };
        write!(f, "{:.2} [{least:.2} .. {most:.2}]", self.0[self.0.len() / 2])
    }
}
