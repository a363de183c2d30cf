//! Axes: which values have a tick, and where a value lies.

use super::canvas::power_of_ten;
use crate::fit::number;

/// A scale from data to a share of the length of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// Whether equal lengths are equal factors.
    logarithmic: bool,
    low: f64,
    high: f64,
}

/// A marked value.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// The value.
    pub value: f64,
    /// What is written; nothing beside a small mark.
    pub text: String,
}

/// How values of a logarithmic axis are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// 10M, 20M.
    Units,
    /// 10 to the power of 18.
    Powers,
}

impl Axis {
    /// An axis of factors that holds all values, with a margin.
    pub fn logarithmic(label: impl Into<String>, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = padded(values.map(f64::log10), 0.06);
        Self {
            label: label.into(),
            logarithmic: true,
            low,
            high,
        }
    }

    /// An axis of differences that holds all values, with a margin.
    pub fn linear(label: impl Into<String>, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = padded(values, 0.07);
        Self {
            label: label.into(),
            logarithmic: false,
            low,
            high,
        }
    }

    /// Where a value lies, from 0 to 1.
    pub fn share(&self, value: f64) -> f64 {
        let value = if self.logarithmic {
            value.log10()
        } else {
            value
        };
        (value - self.low) / (self.high - self.low)
    }

    /// Marked values: about `count` with text, and for factors small marks between them.
    pub fn ticks(&self, count: usize, notation: Notation) -> Vec<Tick> {
        match self.logarithmic {
            true => self.logarithmic_ticks(count, notation),
            false => self.linear_ticks(count),
        }
    }

    fn linear_ticks(&self, count: usize) -> Vec<Tick> {
        let rough = (self.high - self.low) / count as f64;
        let power = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
        let step = steps
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(10.0 * power);
        let places = (0..16)
            .find(|&places| is_whole(step * 10f64.powi(places)))
            .unwrap_or_default() as usize;
        let numbers = (self.low / step).ceil() as i64..=(self.high / step).floor() as i64;
        let tick = |number: i64| {
            let value = number as f64 * step;
            Tick {
                value,
                text: format!("{value:.places$}").replace('-', "−"),
            }
        };
        numbers.map(tick).collect()
    }

    fn logarithmic_ticks(&self, count: usize, notation: Notation) -> Vec<Tick> {
        let decades = self.low.floor() as i32..=self.high.ceil() as i32;
        let all = decades.flat_map(|decade| (1..10).map(move |digit| (digit, decade)));
        let inside = |&(digit, decade): &(i32, i32)| {
            let value = f64::from(digit).log10() + f64::from(decade);
            (self.low..=self.high).contains(&value)
        };
        let all: Vec<_> = all.filter(inside).collect();
        let written = written(&all, count, notation);
        let tick = |&(digit, decade): &(i32, i32)| {
            let value = f64::from(digit) * 10f64.powi(decade);
            let text = match notation {
                _ if !written(digit, decade) => String::new(),
                Notation::Units => short(value),
                Notation::Powers => match digit {
                    1 => power_of_ten(decade),
                    _ => format!("{digit}×{}", power_of_ten(decade)),
                },
            };
            Tick { value, text }
        };
        all.iter().map(tick).collect()
    }
}

/// Which of the values, as digits and powers of ten, are written so that there are about `count`: of several sets, the one
/// with most texts that is not over it.
fn written(
    all: &[(i32, i32)],
    count: usize,
    notation: Notation,
) -> impl Fn(i32, i32) -> bool + use<> {
    let sets: [&[i32]; 4] = [&[1, 2, 3, 4, 6, 8], &[1, 2, 5], &[1, 3], &[1]];
    let of_set = |set: &[i32]| all.iter().filter(|(digit, _)| set.contains(digit)).count();
    let dense_enough = |set: &&&[i32]| {
        // products are wide, so there are few, and none between two powers
        let products = set.len() > 1 && notation == Notation::Powers;
        of_set(set) <= count && !(products && (of_set(&[1]) > 1 || set.len() > 3))
    };
    let set = sets.iter().find(dense_enough).copied().unwrap_or(&[1]);
    let every = of_set(set).div_ceil(count).max(1) as i32;
    move |digit, decade| set.contains(&digit) && decade % every == 0
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < 1e-6
}

/// A count without needless zeros, such as 20M.
fn short(value: f64) -> String {
    let text = number::count(value);
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let digits = &text[..text.len() - unit.len()];
    match digits.contains('.') {
        true => format!(
            "{}{unit}",
            digits.trim_end_matches('0').trim_end_matches('.')
        ),
        false => text,
    }
}

fn padded(values: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        return (0.0, 1.0);
    }
    let range = if high > low {
        high - low
    } else {
        high.abs().max(1.0) * 0.1
    };
    (low - margin * range, high + margin * range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis, count: usize, notation: Notation) -> Vec<String> {
        let ticks = axis.ticks(count, notation);
        ticks
            .into_iter()
            .map(|tick| tick.text)
            .filter(|text| !text.is_empty())
            .collect()
    }

    #[test]
    fn differences_have_round_ticks() {
        let axis = Axis::linear("", [2.93, 3.41].into_iter());
        assert_eq!(
            texts(&axis, 6, Notation::Units),
            ["2.9", "3.0", "3.1", "3.2", "3.3", "3.4"]
        );
        let axis = Axis::linear("", [-0.012, 0.011].into_iter());
        assert_eq!(
            texts(&axis, 6, Notation::Units),
            ["−0.010", "−0.005", "0.000", "0.005", "0.010"]
        );
    }

    #[test]
    fn factors_are_written_as_densely_as_there_is_room() {
        let axis = Axis::logarithmic("", [7.7e7, 1.2e9].into_iter());
        assert_eq!(
            texts(&axis, 6, Notation::Units),
            ["100M", "200M", "500M", "1B"]
        );
        let axis = Axis::logarithmic("", [1.8e5, 6.7e5].into_iter());
        assert_eq!(
            texts(&axis, 5, Notation::Units),
            ["200k", "300k", "400k", "600k"]
        );
        let axis = Axis::logarithmic("", [1e18, 1e20].into_iter());
        assert_eq!(
            texts(&axis, 4, Notation::Powers),
            [18, 19, 20].map(power_of_ten)
        );
        let axis = Axis::logarithmic("", [1.5e18, 5.2e18].into_iter());
        let powers = [2, 5].map(|digit| format!("{digit}×{}", power_of_ten(18)));
        assert_eq!(texts(&axis, 4, Notation::Powers), powers);
        let axis = Axis::logarithmic("", [1e3, 1e23].into_iter());
        assert!((3..=6).contains(&texts(&axis, 5, Notation::Powers).len()));
    }

    #[test]
    fn an_axis_holds_its_values_and_is_never_empty() {
        for values in [vec![], vec![3.0], vec![2.0, 8.0], vec![f64::NAN, 1.0]] {
            for axis in [
                Axis::linear("", values.clone().into_iter()),
                Axis::logarithmic("", values.clone().into_iter()),
            ] {
                for value in values.iter().filter(|value| value.is_finite()) {
                    assert!(
                        (0.0..=1.0).contains(&axis.share(*value)),
                        "{axis:?} {value}"
                    );
                }
                assert!(axis.low < axis.high, "{axis:?}");
            }
        }
    }
}
