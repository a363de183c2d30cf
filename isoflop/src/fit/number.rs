//! Numbers with their intervals, as people read them.

use super::bootstrap::Estimate;

/// A count in millions, billions and so on, with three digits.
pub fn count(value: f64) -> String {
    if !value.is_finite() {
        return "?".into();
    }
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(unit, _)| value.abs() >= *unit) {
        _ if value.abs() >= 1e15 => format!("{value:.2e}"),
        Some((unit, name)) => format!("{}{name}", digits(value / unit)),
        None => digits(value),
    }
}

/// A budget, such as `3e18` or `1.25e19`.
pub fn budget(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            format!(
                "{}e{exponent}",
                mantissa.trim_end_matches('0').trim_end_matches('.')
            )
        }
        None => text,
    }
}

/// A loss or an exponent, with three places.
pub fn places(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.3}"),
        false => "?".into(),
    }
}

/// An estimate with its interval, such as `0.367 [0.35, 0.38]`.
pub fn estimate(estimate: &Estimate, show: fn(f64) -> String) -> String {
    format!("{} {}", show(estimate.value), interval(estimate, show))
}

/// The interval alone.
pub fn interval(estimate: &Estimate, show: fn(f64) -> String) -> String {
    match estimate.interval {
        Some(interval) => format!("[{}, {}]", show(interval.low), show(interval.high)),
        None => "[?]".into(),
    }
}

/// Three significant digits, or those of a whole number.
pub fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 1e5 => format!("{value:.2e}"),
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.9995 || v == 0.0 => format!("{value:.2}"),
        v if v >= 1e-3 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::bootstrap::Interval;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let counts = [0.5, 12.0, 999.9, 1234.0, 45.6e6, 1e9, 3.2e13, 1e18].map(count);
        assert_eq!(
            counts,
            [
                "0.5000", "12.0", "1000", "1.23k", "45.6M", "1.00B", "32.0T", "1.00e18"
            ]
        );
        assert_eq!(
            [3e18, 1.25e19, 1e-3].map(budget),
            ["3e18", "1.25e19", "1e-3"]
        );
        assert_eq!(count(f64::NAN), "?");
        assert_eq!(
            [12_345.6, 5.788e11, 2e-7].map(digits),
            ["12346", "5.79e11", "2.00e-7"]
        );
    }

    #[test]
    fn an_unknown_interval_is_shown_as_unknown() {
        let interval = Some(Interval {
            low: 0.1,
            high: 0.25,
        });
        assert_eq!(
            estimate(
                &Estimate {
                    value: 0.2,
                    interval
                },
                places
            ),
            "0.200 [0.100, 0.250]"
        );
        assert_eq!(
            estimate(
                &Estimate {
                    value: 0.2,
                    interval: None
                },
                places
            ),
            "0.200 [?]"
        );
    }
}
