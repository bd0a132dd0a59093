//! Numbers as readers want them. Full digits are in the tables.

use std::f64::consts::{LN_10, LOG10_E};

/// How often chance alone does as well, from the logarithm of a p-value. It is rounded towards chance, so it never
/// sounds stronger than the number.
#[must_use]
pub(super) fn chance(log10_p: f64) -> String {
    if log10_p > -2.0 {
        return format!("{:.0} in 100", (100.0 * 10f64.powf(log10_p) - 1e-9).ceil().clamp(1.0, 100.0));
    }
    let exponent = (-log10_p).floor();
    if exponent >= 7.0 {
        return format!("1 in {}", power(exponent));
    }
    // Two leading digits.
    let unit = 10f64.powf(exponent - 1.0);
    format!("1 in {}", apart(&format!("{:.0}", (10f64.powf(-log10_p) / unit).floor() * unit)))
}

/// 10 to an integer or to a number of one decimal.
#[must_use]
pub(super) fn power(exponent: f64) -> String {
    // Adding 0 takes the sign of -0.
    let text = format!("{:.1}", (exponent * 10.0).round() / 10.0 + 0.0);
    let digits = text.strip_suffix(".0").unwrap_or(&text).chars().map(|c| match c {
        '-' => '⁻',
        '.' => '·',
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        // The others lie side by side.
        _ => char::from_u32(0x2070 + c.to_digit(10).unwrap_or(0)).unwrap_or(c),
    });
    format!("10{}", digits.collect::<String>())
}

/// An integer with thousands apart.
#[must_use]
pub(super) fn grouped(n: u64) -> String {
    apart(&n.to_string())
}

/// Digits with thousands apart.
pub(super) fn apart(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// log10 of an e-value.
#[must_use]
pub(super) fn log10_e(ln_e: f64) -> f64 {
    ln_e / LN_10
}

/// A small level as the power of ten that it mostly is, else in digits.
#[must_use]
pub(super) fn level(alpha: f64) -> String {
    let log = alpha.ln() * LOG10_E;
    if alpha < 0.001 && (log - log.round()).abs() < 1e-9 { power(log.round()) } else { format!("{alpha:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_stronger_than_the_number() {
        assert_eq!(chance(0.0), "100 in 100");
        assert_eq!(chance(-0.6020599913279624), "25 in 100");
        assert_eq!(chance(-2.0), "1 in 100");
        assert_eq!(chance(-5.67), "1 in 460,000");
        assert_eq!(chance(-34.61), "1 in 10³⁴");
        assert_eq!(chance(-47714.9), "1 in 10⁴⁷⁷¹⁴");
    }

    #[test]
    fn figures() {
        assert_eq!((power(-34.61), power(5.0), power(-0.04)), ("10⁻³⁴·⁶".into(), "10⁵".into(), "10⁰".into()));
        assert_eq!((grouped(0), grouped(999), grouped(1_234_567)), ("0".into(), "999".into(), "1,234,567".into()));
        assert_eq!((level(1e-6), level(0.01), level(2.5e-7)), ("10⁻⁶".into(), "0.01".into(), "2.5e-7".into()));
    }
}
