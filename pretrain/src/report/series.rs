//! Curves: values against steps, smoothed and thinned for drawing.

/// (step, value) in order of step; values are finite.
pub type Points = Vec<(f64, f64)>;

/// A curve of the finite values.
pub fn points(values: impl Iterator<Item = (u64, f64)>) -> Points {
    let values = values.filter(|(_, value)| value.is_finite());
    values.map(|(step, value)| (step as f64, value)).collect()
}

/// Mean over `span` points around each point; near the ends over fewer, as many on either side, so that there is no lag.
pub fn smooth(points: &[(f64, f64)], span: usize) -> Points {
    let mut sums = vec![0.0];
    for (_, value) in points {
        sums.push(sums[sums.len() - 1] + value);
    }
    let average = |(index, &(step, _)): (usize, &(f64, f64))| {
        let reach = (span / 2).min(index).min(points.len() - 1 - index);
        let (start, end) = (index - reach, index + reach + 1);
        (step, (sums[end] - sums[start]) / (end - start) as f64)
    };
    points.iter().enumerate().map(average).collect()
}

/// At most `limit` points: of each stretch the lowest and the highest, so that no spike is lost.
pub fn thin(points: &[(f64, f64)], limit: usize) -> Points {
    if points.len() <= limit {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(limit / 2);
    let mut thinned = Points::with_capacity(limit);
    for chunk in points.chunks(stretch) {
        let lowest = (0..chunk.len()).min_by(|&a, &b| chunk[a].1.total_cmp(&chunk[b].1));
        let highest = (0..chunk.len()).max_by(|&a, &b| chunk[a].1.total_cmp(&chunk[b].1));
        let mut kept: Vec<usize> = lowest.into_iter().chain(highest).collect();
        kept.sort_unstable();
        kept.dedup();
        thinned.extend(kept.into_iter().map(|index| chunk[index]));
    }
    thinned
}

/// The value below which a fraction of the values lies; `values` is not empty.
pub fn quantile(mut values: Vec<f64>, fraction: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * fraction).ceil() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_removes_noise_and_keeps_a_slope() {
        let slope: Points = (0..50)
            .map(|step| (step as f64, 3.0 - 0.5 * step as f64))
            .collect();
        let zigzag = |&(step, value): &(f64, f64)| {
            (step, value + if step % 2.0 == 0.0 { 0.5 } else { -0.5 })
        };
        let noisy: Points = slope.iter().map(zigzag).collect();
        for (points, tolerance) in [(&slope, 1e-9), (&noisy, 0.1)] {
            let smoothed = smooth(points, 20);
            let mut middle = smoothed.iter().zip(&slope).skip(10).take(30);
            assert!(middle.all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < tolerance));
            assert_eq!((smoothed[0], smoothed.len()), (points[0], points.len()));
        }
        assert!(smooth(&[], 20).is_empty());
    }

    #[test]
    fn thinning_keeps_spikes_and_order() {
        let mut long: Points = (0..10_000).map(|step| (step as f64, 1.0)).collect();
        long[4321].1 = 9.0;
        long[8765].1 = -9.0;
        let thinned = thin(&long, 600);
        assert!(thinned.len() <= 600, "{}", thinned.len());
        assert!(thinned.contains(&(4321.0, 9.0)) && thinned.contains(&(8765.0, -9.0)));
        assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn values_that_are_not_finite_are_left_out() {
        let values = [(1, 2.0), (2, f64::NAN), (3, f64::INFINITY), (4, 3.0)];
        assert_eq!(points(values.into_iter()), [(1.0, 2.0), (4.0, 3.0)]);
    }

    #[test]
    fn quantiles_are_values() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(quantile(values.clone(), 0.99), 199.0);
        assert_eq!(quantile(values, 1.0), 200.0);
        assert_eq!(quantile(vec![5.0], 0.99), 5.0);
    }
}
