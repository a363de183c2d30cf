//! Power laws: straight lines between logarithms.

use serde::Serialize;

use super::bootstrap::Estimate;

/// y = `value` + `slope`·(x − `center`), in logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    center: f64,
    value: f64,
    slope: f64,
}

impl Line {
    /// The line of least squares through points of which at least two differ in x.
    pub fn fit(points: &[(f64, f64)]) -> Self {
        let n = points.len() as f64;
        let center = points.iter().map(|(x, _)| x).sum::<f64>() / n;
        let value = points.iter().map(|(_, y)| y).sum::<f64>() / n;
        let square: f64 = points.iter().map(|(x, _)| (x - center).powi(2)).sum();
        let product: f64 = points.iter().map(|(x, y)| (x - center) * y).sum();
        Self {
            center,
            value,
            slope: product / square,
        }
    }

    /// The value at x.
    pub fn at(&self, x: f64) -> f64 {
        self.value + self.slope * (x - self.center)
    }

    /// The x of a value.
    pub fn inverse(&self, y: f64) -> f64 {
        self.center + (y - self.value) / self.slope
    }

    /// The slope.
    pub fn slope(&self) -> f64 {
        self.slope
    }
}

/// y = `coefficient` · C^`exponent`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Law {
    /// The value at one FLOP, far outside of what was measured.
    pub coefficient: f64,
    /// The power of the budget.
    pub exponent: Estimate,
    /// Budgets it was fitted to.
    pub budgets: usize,
    /// The factor by which a minimum misses the law most.
    pub largest_miss: f64,
    #[serde(skip)]
    line: Line,
    #[serde(skip)]
    resampled: Vec<Line>,
}

impl Law {
    /// Fits (ln budget, ln y), and the y of each resample; at least two budgets.
    pub fn fit(points: &[(f64, f64)], resampled: &[Vec<f64>]) -> Self {
        let line = Line::fit(points);
        let refit = |values: &Vec<f64>| {
            let moved: Vec<_> = points
                .iter()
                .zip(values)
                .map(|((x, _), y)| (*x, *y))
                .collect();
            Line::fit(&moved)
        };
        let resampled: Vec<Line> = resampled.iter().map(refit).collect();
        let miss = |(x, y): &(f64, f64)| (y - line.at(*x)).abs();
        Self {
            coefficient: line.at(0.0).exp(),
            exponent: Estimate::new(line.slope, resampled.iter().map(Line::slope)),
            budgets: points.len(),
            largest_miss: points.iter().map(miss).fold(0.0, f64::max).exp(),
            line,
            resampled,
        }
    }

    /// The value at a budget.
    pub fn at(&self, budget: f64) -> Estimate {
        let x = budget.ln();
        let resampled = self.resampled.iter().map(|line| line.at(x).exp());
        Estimate::new(self.line.at(x).exp(), resampled)
    }

    /// The budget of a value.
    pub fn budget_of(&self, value: f64) -> Estimate {
        let y = value.ln();
        let resampled = self.resampled.iter().map(|line| line.inverse(y).exp());
        Estimate::new(self.line.inverse(y).exp(), resampled)
    }

    /// The value of `other` where this law has `value`, resample by resample.
    pub fn other_at(&self, value: f64, other: &Law) -> Estimate {
        let y = value.ln();
        let along = |own: &Line, other: &Line| other.at(own.inverse(y)).exp();
        let pairs = self.resampled.iter().zip(&other.resampled);
        Estimate::new(
            along(&self.line, &other.line),
            pairs.map(|(own, other)| along(own, other)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N = 2·C^0.5 at 1e2, 1e4, 1e6, and one resample of N = 3·C^0.25.
    fn law() -> Law {
        let budgets = [1e2f64, 1e4, 1e6].map(f64::ln);
        let points = budgets.map(|x| (x, 2f64.ln() + 0.5 * x));
        let resampled = budgets.map(|x| 3f64.ln() + 0.25 * x).to_vec();
        Law::fit(&points, &[resampled])
    }

    #[test]
    fn a_power_law_is_recovered_with_its_resamples() {
        let law = law();
        let close = |found: f64, expected: f64| {
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}")
        };
        close(law.coefficient, 2.0);
        close(law.exponent.value, 0.5);
        close(law.exponent.interval.unwrap().low, 0.25);
        close(law.largest_miss, 1.0);
        close(law.at(1e8).value, 2e4);
        close(law.at(1e8).interval.unwrap().high, 300.0);
        close(law.budget_of(200.0).value, 1e4);
        close(law.budget_of(30.0).interval.unwrap().high, 1e4);
    }

    #[test]
    fn the_worst_miss_is_a_factor() {
        let points = [(0.0, 0.0), (1.0, 3f64.ln()), (2.0, 0.0)];
        let law = Law::fit(&points, &[]);
        assert!((law.largest_miss - 3f64.powf(2.0 / 3.0)).abs() < 1e-12);
        assert_eq!(law.exponent.interval, None);
    }

    #[test]
    fn two_laws_are_followed_together() {
        let (params, tokens) = (law(), law());
        let both = params.other_at(200.0, &tokens);
        assert!((both.value - 200.0).abs() < 1e-9);
    }
}
