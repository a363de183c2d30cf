//! Elementary functions on vectors.

use super::lanes::Lanes;

/// `exp(x) - 1` for x ≤ 0, within 2e-7 of the largest magnitude involved; -1 below -87.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn expm1<L: Lanes>(x: L::V) -> L::V {
    unsafe {
        let (k, p) = reduced_exp::<L>(L::max(L::splat(-87.0), x));
        let scale = L::pow2(k);
        L::fma(scale, p, L::sub(scale, L::splat(1.0)))
    }
}

/// `exp(x)` for x ≤ 88, relative error below 2e-7; 0 or below 1e-37 for x below -87.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn exp<L: Lanes>(x: L::V) -> L::V {
    unsafe {
        let (k, p) = reduced_exp::<L>(L::max(L::splat(-87.0), x));
        let scale = L::pow2(k);
        L::fma(scale, p, scale)
    }
}

/// `2^x` for x ≤ 127, relative error below 2e-7; 0 for x below -126.5.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
#[allow(clippy::approx_constant)] // a coefficient of least error beside the others, not ln 2
pub unsafe fn exp2<L: Lanes>(x: L::V) -> L::V {
    unsafe {
        let x = L::max(L::splat(-127.0), x);
        let k = L::round(x);
        let r = L::sub(x, k);
        // 2^r - 1 = r p(r) for |r| ≤ 1/2, of least relative error in 2^r (9e-8)
        let mut p = L::splat(1.326_472_7e-3);
        for c in [9.671_513e-3, 5.550_733_6e-2, 0.240_222_42, 0.693_147] {
            p = L::fma(p, r, L::splat(c));
        }
        let scale = L::pow2(k);
        L::fma(scale, L::mul(p, r), scale)
    }
}

/// `(k, exp(r) - 1)` with `x = k ln 2 + r`.
#[inline(always)]
unsafe fn reduced_exp<L: Lanes>(x: L::V) -> (L::V, L::V) {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    unsafe {
        let k = L::round(L::mul(x, L::splat(std::f32::consts::LOG2_E)));
        let r = L::fma(k, L::splat(-LN2_HIGH), x);
        let r = L::fma(k, L::splat(-LN2_LOW), r);
        let mut p = L::splat(1.987_569_2e-4);
        for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
            p = L::fma(p, r, L::splat(c));
        }
        (k, L::fma(L::mul(p, r), r, r))
    }
}

/// `sin²(x)`, for |x| up to 10⁵ within 1e-6.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn sin_squared<L: Lanes>(x: L::V) -> L::V {
    // π in three parts, so that k π is exact in each but the last
    const PI: [f32; 3] = [3.140_625, 9.670_257_6e-4, 6.277_114e-7];
    unsafe {
        let k = L::round(L::mul(x, L::splat(std::f32::consts::FRAC_1_PI)));
        let mut r = x;
        for part in PI {
            r = L::fma(k, L::splat(-part), r);
        }
        let r2 = L::mul(r, r);
        let mut p = L::splat(-2.388_985_9e-8);
        for c in [
            2.752_556e-6,
            -1.984_087_4e-4,
            8.333_331e-3,
            -0.166_666_67,
            1.0,
        ] {
            p = L::fma(p, r2, L::splat(c));
        }
        let sin = L::mul(p, r);
        L::mul(sin, sin)
    }
}

/// `x Φ(x)`, the exact GELU: `x / 2 · (1 + erf(x / √2))`.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn gelu<L: Lanes>(x: L::V) -> L::V {
    unsafe {
        let half = L::mul(x, L::splat(0.5));
        L::fma(
            half,
            erf::<L>(L::mul(x, L::splat(std::f32::consts::FRAC_1_SQRT_2))),
            half,
        )
    }
}

/// The error function by a rational approximation on [-4, 4], beyond which it is ±1 in f32; within 4e-7.
#[inline(always)]
unsafe fn erf<L: Lanes>(x: L::V) -> L::V {
    const NUMERATOR: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const DENOMINATOR: [f32; 5] = [
        -1.456_607_2e-5,
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ];
    unsafe {
        let x = L::min(L::splat(4.0), L::max(L::splat(-4.0), x));
        let x2 = L::mul(x, x);
        let numerator = polynomial::<L, 7>(x2, NUMERATOR);
        L::div(L::mul(x, numerator), polynomial::<L, 5>(x2, DENOMINATOR))
    }
}

/// Coefficients of the highest power first.
#[inline(always)]
unsafe fn polynomial<L: Lanes, const N: usize>(x: L::V, coefficients: [f32; N]) -> L::V {
    unsafe {
        let mut p = L::splat(coefficients[0]);
        for c in &coefficients[1..] {
            p = L::fma(p, x, L::splat(*c));
        }
        p
    }
}

/// Hyperbolic tangent: `1 - 2 / (exp(2x) + 1)`, within 3e-7.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn tanh<L: Lanes>(x: L::V) -> L::V {
    unsafe {
        let x = L::min(L::splat(10.0), L::max(L::splat(-10.0), x));
        let e = exp::<L>(L::add(x, x));
        L::sub(
            L::splat(1.0),
            L::div(L::splat(2.0), L::add(e, L::splat(1.0))),
        )
    }
}

/// Logistic function: `1 / (1 + exp(-x))`.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub unsafe fn sigmoid<L: Lanes>(x: L::V) -> L::V {
    unsafe {
        let x = L::min(L::splat(80.0), L::max(L::splat(-80.0), x));
        let e = exp::<L>(L::sub(L::splat(0.0), x));
        L::div(L::splat(1.0), L::add(L::splat(1.0), e))
    }
}
