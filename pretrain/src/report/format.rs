//! Numbers and text as the page shows them.

/// Text made safe for HTML content and attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Three significant digits and a suffix: `2.46M`.
pub fn si(value: f64) -> String {
    const SUFFIXES: [(f64, &str); 4] = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")];
    if !value.is_finite() {
        return "—".to_string();
    }
    // 999.5k is shown as 1M, not as 1000k
    match SUFFIXES
        .into_iter()
        .find(|(unit, _)| value.abs() >= unit * 0.9995)
    {
        Some((unit, suffix)) => significant(value / unit) + suffix,
        None => significant(value),
    }
}

/// Three significant digits, without trailing zeros.
fn significant(value: f64) -> String {
    let whole_digits = (value.abs().max(1.0) * 1.0005).log10().floor() as usize + 1;
    trim(format!("{value:.*}", 3usize.saturating_sub(whole_digits)))
}

/// Without trailing zeros after a decimal point.
fn trim(number: String) -> String {
    match number.contains('.') {
        true => number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_string(),
        false => number,
    }
}

/// A tick of an axis: `0`, `2.5`, `3e-4`, `20k`.
pub fn tick(value: f64) -> String {
    let size = value.abs();
    if size < 1e-12 {
        "0".to_string()
    } else if size < 0.01 {
        let scientific = format!("{value:.2e}");
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        format!("{}e{exponent}", trim(mantissa.to_string()))
    } else if size >= 10_000.0 {
        si(value)
    } else {
        trim(format!("{value:.3}"))
    }
}

/// A loss: three decimals, `—` where there is none.
pub fn loss(value: Option<f64>) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.3}"),
        _ => "—".to_string(),
    }
}

/// A difference with its sign: `−0.512`.
pub fn signed(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "—".to_string(),
        _ if value < 0.0 => format!("−{:.3}", -value),
        _ => format!("+{value:.3}"),
    }
}

/// A count with its thousands apart: `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A share: `2.50 %`.
pub fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "—".to_string(),
        _ => format!("{:.2} %", 100.0 * part as f64 / whole as f64),
    }
}

/// A time span in its two largest units: `3 h 05 min`.
pub fn duration(secs: f64) -> String {
    let whole = secs.round() as u64;
    match whole {
        0..10 => trim(format!("{secs:.1}")) + " s",
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_escaped() {
        assert_eq!(
            escape(r#"<a href="x">'&'</a>"#),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
        );
    }

    #[test]
    fn numbers_have_three_significant_digits() {
        let cases = [
            (0.0, "0"),
            (7.0, "7"),
            (999.0, "999"),
            (999.7, "1k"),
            (1234.0, "1.23k"),
            (99_960.0, "100k"),
        ];
        for (value, shown) in
            cases
                .into_iter()
                .chain([(2.46e6, "2.46M"), (5e11, "500B"), (f64::NAN, "—")])
        {
            assert_eq!(si(value), shown, "{value}");
        }
    }

    #[test]
    fn ticks_are_short() {
        let cases = [
            (0.0, "0"),
            (0.30000000000000004, "0.3"),
            (2.5, "2.5"),
            (0.003, "3e-3"),
            (0.0025, "2.5e-3"),
        ];
        for (value, shown) in cases
            .into_iter()
            .chain([(5000.0, "5000"), (20_000.0, "20k")])
        {
            assert_eq!(tick(value), shown);
        }
    }

    #[test]
    fn counts_shares_and_times_read_well() {
        assert_eq!(
            [count(7), count(1234), count(1_234_567)],
            ["7", "1,234", "1,234,567"]
        );
        assert_eq!([percent(1, 40), percent(0, 0)], ["2.50 %", "—"]);
        assert_eq!(
            [duration(3.26), duration(59.7), duration(61.0)],
            ["3.3 s", "1 min 00 s", "1 min 01 s"]
        );
        assert_eq!(
            [duration(11_100.0), duration(90_000.0)],
            ["3 h 05 min", "1 d 01 h"]
        );
        assert_eq!(
            [signed(-0.5), signed(0.25), loss(None)],
            ["−0.500", "+0.250", "—"]
        );
    }
}
