//! Tables and numbers as people read them.

use comfy_table::{CellAlignment, Table, presets};

/// A plain table: words to the left, numbers to the right.
pub(super) fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    let is_number =
        |cell: &str| cell == NONE || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    let numbers: [bool; COLUMNS] =
        std::array::from_fn(|column| rows.iter().all(|row| is_number(&row[column])));
    table.add_rows(rows);
    for (column, is_number) in table.column_iter_mut().zip(numbers) {
        column.set_padding((0, 2));
        if is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// What stands for an absent number.
pub(super) const NONE: &str = "-";

/// `1234567` as `1,234,567`.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share in percent, with three digits behind the point.
pub(super) fn percent(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}

/// At most `digits` behind the point, and no zeros at the end.
pub(super) fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// `400e9` as `400B`.
pub(super) fn short(value: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")];
    match UNITS.into_iter().find(|(unit, _)| value.abs() >= *unit) {
        Some((unit, suffix)) => trimmed(value / unit, 2) + suffix,
        None => trimmed(value, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        let texts = [0, 999, 1_000, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
        let texts = [0.0, 12.0, 2500.0, 400e9, 1.25e12].map(short);
        assert_eq!(texts, ["0", "12", "2.5k", "400B", "1.25T"]);
        let texts = [12.5, 12.0, 0.125, 100.0].map(|value| trimmed(value, 2));
        assert_eq!(texts, ["12.5", "12", "0.12", "100"]);
        assert_eq!(percent(0.05), "5.000 %");
    }

    #[test]
    fn columns_of_numbers_end_alike() {
        let rows = [("a", "1"), ("longer", NONE), ("b", "22")];
        let rows = rows.map(|(name, number)| [name.to_owned(), number.to_owned()]);
        let text = table(["name", "n"], rows);
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            ["name     n", "a        1", "longer   -", "b       22"]
        );
    }
}
