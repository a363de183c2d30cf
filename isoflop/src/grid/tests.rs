use super::*;

fn widths(rules: &Rules, budget: f64) -> Vec<usize> {
    let grid = sweep(rules, budget).unwrap();
    grid.candidates.iter().map(|c| c.hidden).collect()
}

#[test]
fn every_candidate_spends_the_budget_and_keeps_the_limits() {
    let rules = Rules::default();
    for exponent in 0..=60 {
        let budget = 1e17 * 10f64.powf(f64::from(exponent) / 15.0);
        let Ok(grid) = sweep(&rules, budget) else {
            continue;
        };
        for c in &grid.candidates {
            let spent = c.flops(&rules).forward;
            assert!((spent / budget - 1.0).abs() <= 0.01, "{c:?}");
            assert!(c.batch >= 8 && c.batch.is_power_of_two(), "{c:?}");
            assert!(c.lr <= 0.01, "{c:?}");
            assert_eq!(c.tokens, c.steps * c.batch * 4096);
        }
    }
}

#[test]
fn large_budgets_try_every_other_width() {
    let rules = Rules::default();
    let steps = |budget, step| {
        let widths = widths(&rules, budget);
        widths.windows(2).all(|pair| pair[1] - pair[0] == step)
    };
    assert!(steps(9e18, 128));
    assert!(steps(9.1e18, 256));
}

#[test]
fn every_width_is_a_candidate_or_left_out_with_its_reason() {
    let rules = Rules::default();
    let grid = sweep(&rules, 3e18).unwrap();
    let mut all: Vec<_> = grid.kept().map(|c| c.hidden).collect();
    all.extend(grid.left_out.iter().map(|left| left.hidden));
    all.sort();
    assert_eq!(all, rules.widths(3e18));
    let first = serde_json::to_value(&grid.left_out[0]).unwrap();
    let expected = serde_json::json!({
        "hidden": 128, "rule": "many-steps", "steps": 2164556, "reason": "2164556 steps >= 400000"
    });
    assert_eq!(first, expected);
}

/// The paper's budgets are three times those of the code.
#[test]
fn the_training_convention_gives_the_same_grid_at_three_times_the_budget() {
    let forward = Rules::default();
    let training = Rules {
        convention: Convention::Training,
        ..Rules::default()
    };
    for budget in [1e18, 9e18, 1e19] {
        let found = sweep(&training, 3.0 * budget).unwrap();
        let expected = sweep(&forward, budget).unwrap();
        let as_forward = |c: &Candidate| Candidate {
            budget,
            ..c.clone()
        };
        let found: Vec<_> = found.candidates.iter().map(as_forward).collect();
        assert_eq!(found, expected.candidates);
    }
}

#[test]
fn a_laptop_has_a_grid_too() {
    let rules = Rules {
        vocab: 4096,
        seq_len: 256,
        hidden: 64..=256,
        step: Some(32),
        head_dim: 32,
        aimed_steps: 1024,
        min_batch: 1,
        lr_constant: 0.2,
        max_lr: 0.02,
        ..Rules::default()
    };
    for budget in [1e12, 1e13] {
        let grid = sweep(&rules, budget).unwrap();
        assert_eq!(grid.kept.candidates, 7, "{:?}", grid.left_out);
    }
}

#[test]
fn refuses_budgets_that_are_none() {
    for budget in [0.0, -1e18, f64::NAN, f64::INFINITY] {
        let message = sweep(&Rules::default(), budget).unwrap_err().to_string();
        assert!(
            message.contains("not a positive, finite number"),
            "{message}"
        );
    }
}

#[test]
fn an_empty_grid_says_which_rule_emptied_it() {
    let empty = |rules: &Rules, budget| sweep(rules, budget).unwrap_err().to_string();
    let rules = Rules::default();
    let message = empty(&rules, 1e15);
    assert!(
        message.starts_with("budget 1e15 (forward FLOPs) leaves none of 16 widths, 128 to 2048: 16 have a batch under 8"),
        "{message}"
    );
    let message = empty(&rules, 1e30);
    assert!(
        message.contains("8 take 400000 steps or more (try a smaller budget"),
        "{message}"
    );
    let odd = Rules {
        hidden: 129..=255,
        step: Some(2),
        ..rules
    };
    let message = empty(&odd, 1e18);
    assert!(message.contains("64 have no heads of an even"), "{message}");
    // nothing overflows
    assert!(empty(&Rules::default(), f64::MAX).contains("steps or more"));
}

#[test]
fn rules_that_are_none_name_their_flag() {
    let base = Rules::default;
    let (wide, narrow) = (256, 128);
    let bad = [
        ("--vocab", Rules { vocab: 0, ..base() }),
        (
            "--seq-len",
            Rules {
                seq_len: 8,
                ..base()
            },
        ),
        (
            "--hidden",
            Rules {
                hidden: wide..=narrow,
                ..base()
            },
        ),
        (
            "--step",
            Rules {
                step: Some(0),
                ..base()
            },
        ),
        (
            "--head-dim",
            Rules {
                head_dim: 0,
                ..base()
            },
        ),
        (
            "--lr-constant",
            Rules {
                lr_constant: f64::NAN,
                ..base()
            },
        ),
        (
            "--max-lr",
            Rules {
                max_lr: 0.0,
                ..base()
            },
        ),
    ];
    for (flag, rules) in bad {
        let message = sweep(&rules, 1e18).unwrap_err().to_string();
        assert!(message.starts_with(flag), "{message}");
    }
}
