//! Vectorised exponentials, compiled for the widest instruction set and chosen at run time.

/// Independent accumulators, enough for two 512-bit registers.
const LANES: usize = 32;

/// What a row of logits comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sums {
    /// Largest value.
    pub max: f32,
    /// Σ exp(x − max).
    pub exp: f32,
    /// Σ x².
    pub square: f32,
}

/// Sums of a non-empty slice.
pub(crate) fn sums(x: &[f32]) -> Sums {
    #[cfg(target_arch = "x86_64")]
    if avx512() {
        // SAFETY: the features were detected.
        return unsafe { sums_avx512(x) };
    }
    sums_generic(x)
}

/// `x ← scale · exp(x − shift)`.
pub(crate) fn scaled_exp(x: &mut [f32], shift: f32, scale: f32) {
    #[cfg(target_arch = "x86_64")]
    if avx512() {
        // SAFETY: the features were detected.
        return unsafe { scaled_exp_avx512(x, shift, scale) };
    }
    scaled_exp_generic(x, shift, scale)
}

#[cfg(target_arch = "x86_64")]
fn avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,fma")]
fn sums_avx512(x: &[f32]) -> Sums {
    sums_generic(x)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,fma")]
fn scaled_exp_avx512(x: &mut [f32], shift: f32, scale: f32) {
    scaled_exp_generic(x, shift, scale)
}

#[inline(always)]
fn sums_generic(x: &[f32]) -> Sums {
    let blocks = x.chunks_exact(LANES);
    let rest = blocks.remainder();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut squares = [0f32; LANES];
    for block in blocks.clone() {
        for ((lane, square), &x) in lanes.iter_mut().zip(&mut squares).zip(block) {
            *lane = if x > *lane { x } else { *lane };
            *square += x * x;
        }
    }
    let max = lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |max, &x| max.max(x));
    let mut exps = [0f32; LANES];
    for block in blocks {
        for (sum, &x) in exps.iter_mut().zip(block) {
            *sum += exp(x - max);
        }
    }
    Sums {
        max,
        exp: exps.iter().sum::<f32>() + rest.iter().map(|&x| exp(x - max)).sum::<f32>(),
        square: squares.iter().sum::<f32>() + rest.iter().map(|&x| x * x).sum::<f32>(),
    }
}

#[inline(always)]
fn scaled_exp_generic(x: &mut [f32], shift: f32, scale: f32) {
    for x in x {
        *x = exp(*x - shift) * scale;
    }
}

/// exp(x) within 2 units in the last place for −87 < x < 88, and exp(−87) below: the Cephes
/// reduction x = k·ln 2 + r with a polynomial in r, free of branches so that it vectorises.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: adding it rounds to an integer, which then stands in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Written so that NaN passes: it is not below anything.
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = x - k * LN2_HIGH - k * LN2_LOW;
    let mut p = 1.987_569_2e-4f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    // The low bits of `shifted` hold k; moved into the exponent they multiply by 2^k.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        for i in -86_000..88_000 {
            let x = i as f32 / 1000.0 + 1e-4;
            let want = f64::from(x).exp();
            let got = f64::from(exp(x));
            assert!(
                ((got - want) / want).abs() < 2.5e-7,
                "exp({x}) = {got}, not {want}"
            );
        }
        assert!(exp(-1000.0) < 2e-38 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_agree_with_the_definition_at_any_length() {
        for length in [1, 31, 32, 33, 100] {
            let x: Vec<f32> = (0..length)
                .map(|i| ((i * 37) % 17) as f32 / 3.0 - 2.0)
                .collect();
            let Sums { max, exp, square } = sums(&x);
            let want_max = x.iter().copied().fold(f32::MIN, f32::max);
            let want: f64 = x.iter().map(|&x| f64::from(x - want_max).exp()).sum();
            assert_eq!(max, want_max);
            assert!((f64::from(exp) - want).abs() < 1e-5 * want);
            let want: f64 = x.iter().map(|&x| f64::from(x * x)).sum();
            assert!((f64::from(square) - want).abs() < 1e-5 * want);
            let mut y = x.clone();
            scaled_exp(&mut y, 1.0, 3.0);
            assert!(
                y.iter()
                    .zip(&x)
                    .all(|(y, x)| (y - 3.0 * (x - 1.0).exp()).abs() < 1e-5 * y.abs())
            );
        }
    }
}
