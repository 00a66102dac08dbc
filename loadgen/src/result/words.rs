//! Numbers in sentences.

/// A number and what it counts: "1 client", "2 clients", "0 deliveries".
pub fn count(n: u64, one: &str) -> String {
    match one.strip_suffix('y') {
        _ if n == 1 => format!("1 {one}"),
        Some(stem) => format!("{n} {stem}ies"),
        None => format!("{n} {one}s"),
    }
}

/// Three digits, and never 0 for something that is not nothing.
pub fn number(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".into(),
        x if x < 0.0005 => "<0.001".into(),
        x if x < 1.0 => format!("{figure:.3}"),
        x if x < 10.0 => format!("{figure:.2}"),
        x if x < 100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

/// A number for other programs, with nine digits: its last bits are not the same after it was written and read.
pub fn digits(figure: f64) -> String {
    format!("{figure:.8e}")
        .parse::<f64>()
        .unwrap_or(figure)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_several() {
        let found: Vec<String> = [0, 1, 2].map(|n| count(n, "client")).into();
        assert_eq!(found, ["0 clients", "1 client", "2 clients"]);
        assert_eq!(
            [count(1, "delivery"), count(2, "delivery")],
            ["1 delivery", "2 deliveries"]
        );
    }

    #[test]
    fn nine_digits_are_the_same_whatever_the_last_bits_are() {
        let found: Vec<String> = [
            0.47300000000000003,
            0.473,
            188.05482866043613,
            1e-9,
            0.0,
            128_540.0,
        ]
        .map(digits)
        .into();
        assert_eq!(
            found,
            ["0.473", "0.473", "188.054829", "0.000000001", "0", "128540"]
        );
    }

    #[test]
    fn numbers_have_three_digits_and_never_pretend_to_be_nothing() {
        let found: Vec<String> = [0.0, 0.0001, 0.04567, 1.2345, 12.345, 123.45, 12345.0]
            .map(number)
            .into();
        assert_eq!(
            found,
            ["0", "<0.001", "0.046", "1.23", "12.3", "123", "12345"]
        );
    }
}
