//! Intervals hold the truth as often as they say: known exponents are recovered from synthetic studies with noise.

use isoflop::fit::bootstrap::{Bootstrap, Estimate};
use isoflop::fit::optimize::chinchilla_starts;
use isoflop::fit::parametric::Parametric;
use isoflop::fit::profile::Point;
use isoflop::fit::profiles::Profiles;
use isoflop::fit::surface::{Surface, TokenCost};
use isoflop::observation::Observation;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

/// Besiroglu et al. 2024 (arXiv 2404.10102), table 1.
const TRUTH: Surface = Surface {
    e: 1.8172,
    a: 482.01,
    b: 2085.43,
    alpha: 0.3478,
    beta: 0.3658,
};
const SIX_ND: TokenCost = TokenCost {
    coefficient: 6.0,
    exponent: 1.0,
    largest_miss: 1.0,
};
const BUDGETS: [f64; 5] = [1e18, 3e18, 1e19, 3e19, 1e20];
/// Sizes of a budget.
const SIZES: usize = 7;
/// Distance of sizes, as a factor.
const SPACING: f64 = 1.6;
/// Deviation of log losses.
const NOISE: f64 = 2e-3;
const DRAWS: u64 = 200;
/// Of 200 intervals that hold the truth with probability 0.95, fewer than 180 do once in a thousand times.
const MIN_HOLDING: usize = 180;

/// A study of models on either side of the best size of each budget, evenly in ln N: so a parabola, which the true profile is
/// not, misses each minimum by the same factor, and not the exponent.
fn study(draw: u64) -> Vec<Observation> {
    let mut rng = ChaCha8Rng::seed_from_u64(draw);
    let noise = Normal::new(0.0, NOISE).unwrap();
    let mut runs = Vec::new();
    for budget in BUDGETS {
        let best = TRUTH.optimum(budget, &SIX_ND).params;
        for size in 0..SIZES {
            let params = best * SPACING.powi(size as i32 - SIZES as i32 / 2);
            let tokens = budget / (6.0 * params);
            runs.push(Observation {
                name: format!("{budget:e}-{size}"),
                budget,
                hidden: None,
                layers: None,
                params,
                tokens,
                loss: TRUTH.loss(params, tokens) * noise.sample(&mut rng).exp(),
                by_kind: Vec::new(),
            });
        }
    }
    runs
}

/// Asserts that the intervals of as many draws as should be hold the truth, and that they are not vacuously wide.
fn assert_coverage(name: &str, truth: f64, estimates: &[Estimate]) {
    let intervals: Vec<_> = estimates
        .iter()
        .filter_map(|estimate| estimate.interval)
        .collect();
    assert_eq!(
        intervals.len(),
        DRAWS as usize,
        "{name}: some draws have no interval"
    );
    let holding = intervals
        .iter()
        .filter(|interval| interval.contains(truth))
        .count();
    let width = intervals
        .iter()
        .map(|interval| interval.high - interval.low)
        .sum::<f64>()
        / DRAWS as f64;
    let errors: f64 = estimates
        .iter()
        .map(|estimate| (estimate.value - truth).powi(2))
        .sum();
    let deviation = (errors / DRAWS as f64).sqrt();
    println!(
        "{name}: {holding} of {DRAWS} hold {truth:.4}; width {width:.4}, deviation {deviation:.4}"
    );
    assert!(
        holding >= MIN_HOLDING,
        "{name}: {holding} of {DRAWS} intervals hold {truth}"
    );
    // 95 % of a normal distribution are 3.92 deviations wide
    assert!(
        width < 1.5 * 3.92 * deviation,
        "{name}: intervals of width {width} for a deviation of {deviation}"
    );
}

#[test]
fn power_laws_through_minima_hold_the_true_exponents() {
    let bootstrap = Bootstrap {
        resamples: 400,
        seed: 1,
    };
    let (mut params, mut tokens, mut minima) = (Vec::new(), Vec::new(), Vec::new());
    for draw in 0..DRAWS {
        let point = |run: &Observation| {
            let (params, tokens, loss) = (run.params, run.tokens, run.loss);
            (
                run.budget,
                Point {
                    params,
                    tokens,
                    loss,
                },
            )
        };
        let profiles = Profiles::fit(
            &study(draw).iter().map(point).collect::<Vec<_>>(),
            &bootstrap,
        );
        params.push(profiles.params_law.fitted().unwrap().exponent);
        tokens.push(profiles.tokens_law.fitted().unwrap().exponent);
        minima.push(profiles.budgets[2].minimum.unwrap().params);
    }
    assert_coverage("exponent of N*", TRUTH.params_exponent(&SIX_ND), &params);
    assert_coverage("exponent of D*", TRUTH.tokens_exponent(&SIX_ND), &tokens);
    // what the parabola makes of the same sizes without noise
    let point = |size: usize| {
        let best = TRUTH.optimum(BUDGETS[2], &SIX_ND).params;
        let params = best * SPACING.powi(size as i32 - SIZES as i32 / 2);
        let tokens = BUDGETS[2] / (6.0 * params);
        let loss = TRUTH.loss(params, tokens);
        (
            BUDGETS[2],
            Point {
                params,
                tokens,
                loss,
            },
        )
    };
    let exact = Profiles::fit(&(0..SIZES).map(point).collect::<Vec<_>>(), &bootstrap);
    assert_coverage(
        "minimum of a budget",
        exact.budgets[0].minimum.unwrap().params.value,
        &minima,
    );
}

#[test]
fn the_surface_holds_the_true_exponents() {
    let bootstrap = Bootstrap {
        resamples: 100,
        seed: 1,
    };
    // 8 of the 4,500 starts: draws without outliers have one optimum
    let starts: Vec<_> = chinchilla_starts().into_iter().step_by(613).collect();
    let fits = (0..DRAWS).map(|draw| {
        let fit = Parametric::fit(&study(draw), &starts, &bootstrap);
        fit.fitted().unwrap().clone()
    });
    let fits: Vec<Parametric> = fits.collect();
    let of = |get: fn(&Parametric) -> Estimate| fits.iter().map(get).collect::<Vec<_>>();
    assert_coverage("α", TRUTH.alpha, &of(|fit| fit.alpha));
    assert_coverage("β", TRUTH.beta, &of(|fit| fit.beta));
    assert_coverage("E", TRUTH.e, &of(|fit| fit.e));
    assert_coverage(
        "exponent of N*",
        TRUTH.params_exponent(&SIX_ND),
        &of(|fit| fit.params_exponent),
    );
    assert_coverage(
        "exponent of D*",
        TRUTH.tokens_exponent(&SIX_ND),
        &of(|fit| fit.tokens_exponent),
    );
}
