//! Known answers. Agreement with them validates the clockwork of loadgen, not anybody's network.

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
}
