//! Least squares with a parabola.

use serde::Serialize;

/// y = `constant` + `linear`·u + `quadratic`·u² with u = x − `center`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Parabola {
    /// Mean of the x it was fitted to.
    pub center: f64,
    /// Value at the center.
    pub constant: f64,
    /// Slope at the center.
    pub linear: f64,
    /// Half of the curvature.
    pub quadratic: f64,
}

impl Parabola {
    /// The value at x.
    pub fn at(&self, x: f64) -> f64 {
        let u = x - self.center;
        self.constant + u * (self.linear + u * self.quadratic)
    }

    /// The x of the minimum; none where the parabola opens downward or is a line.
    pub fn argmin(&self) -> Option<f64> {
        let argmin = self.center - self.linear / (2.0 * self.quadratic);
        (self.quadratic > 0.0 && argmin.is_finite()).then_some(argmin)
    }
}

/// The places of some measurements, and what least squares makes of values there.
///
/// The basis of polynomials is orthonormal on the places, so that coefficients are sums and nothing is solved.
pub struct Design {
    center: f64,
    /// 1, u and u² as combinations of the basis: the mean of u², and u² along u.
    mean_square: f64,
    skew: f64,
    /// Norms of the basis before it was normalised.
    norms: [f64; 3],
    /// The basis at each place.
    basis: Vec<[f64; 3]>,
}

impl Design {
    /// Places x; none if fewer than three of them differ.
    pub fn new(x: &[f64]) -> Option<Self> {
        if distinct(x) < 3 {
            return None;
        }
        let n = x.len() as f64;
        let center = x.iter().sum::<f64>() / n;
        let moment = |power: i32| x.iter().map(|x| (x - center).powi(power)).sum::<f64>();
        let (mean_square, skew) = (moment(2) / n, moment(3) / moment(2));
        let raw = |x: &f64| {
            let u = x - center;
            [1.0, u, u * u - skew * u - mean_square]
        };
        let raw: Vec<_> = x.iter().map(raw).collect();
        let norms = [0, 1, 2].map(|i| raw.iter().map(|row| row[i] * row[i]).sum::<f64>().sqrt());
        let normalised = |row: &[f64; 3]| [0, 1, 2].map(|i| row[i] / norms[i]);
        Some(Self {
            center,
            mean_square,
            skew,
            norms,
            basis: raw.iter().map(normalised).collect(),
        })
    }

    /// The parabola nearest to values at the places.
    pub fn fit(&self, y: &[f64]) -> Parabola {
        let mut coefficients = [0.0; 3];
        for (row, y) in self.basis.iter().zip(y) {
            for (coefficient, basis) in coefficients.iter_mut().zip(row) {
                *coefficient += basis * y;
            }
        }
        let [constant, linear, quadratic] = [0, 1, 2].map(|i| coefficients[i] / self.norms[i]);
        Parabola {
            center: self.center,
            constant: constant - quadratic * self.mean_square,
            linear: linear - quadratic * self.skew,
            quadratic,
        }
    }

    /// Share of each value in the fitted value at its own place, from 0 to 1: the diagonal of the hat matrix.
    pub fn leverages(&self) -> impl Iterator<Item = f64> {
        self.basis.iter().map(|row| row.iter().map(|b| b * b).sum())
    }
}

/// How many values differ.
pub fn distinct(x: &[f64]) -> usize {
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    sorted.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parabola_is_recovered_far_from_the_origin() {
        let x = [1000.0, 1000.5, 1001.25, 1003.0, 1003.0];
        let y = x.map(|x| 2.5 + 0.3 * (x - 1001.0) * (x - 1001.0));
        let parabola = Design::new(&x).unwrap().fit(&y);
        assert!(
            (parabola.argmin().unwrap() - 1001.0).abs() < 1e-9,
            "{parabola:?}"
        );
        assert!((parabola.at(1001.0) - 2.5).abs() < 1e-9);
        assert!((parabola.at(1004.0) - 5.2).abs() < 1e-9);
    }

    #[test]
    fn leverages_sum_to_the_coefficients() {
        let design = Design::new(&[0.0, 1.0, 2.0, 5.0, 6.0]).unwrap();
        assert!((design.leverages().sum::<f64>() - 3.0).abs() < 1e-12);
        // three places are met exactly
        let design = Design::new(&[0.0, 1.0, 5.0]).unwrap();
        assert!(
            design
                .leverages()
                .all(|leverage| (leverage - 1.0).abs() < 1e-12)
        );
    }

    #[test]
    fn what_opens_downward_has_no_minimum() {
        let design = Design::new(&[0.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(design.fit(&[0.0, 2.0, 2.0, 0.0]).argmin(), None);
        assert_eq!(design.fit(&[1.0; 4]).argmin(), None);
    }

    #[test]
    fn two_places_make_no_parabola() {
        assert!(Design::new(&[1.0, 2.0, 2.0, 1.0]).is_none());
        assert!(Design::new(&[]).is_none());
    }
}
