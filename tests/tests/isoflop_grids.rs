//! `isoflop sweep` and `isoflop target` against `fixtures/isoflop-grids.json`, which `scripts/make_isoflop_fixtures.py` derives a
//! second time.

use serde_json::Value;

use tests::{bin, fixture, run, run_ok};

fn read(name: &str) -> Value {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn isoflop(args: &[&str]) -> Value {
    let text = run_ok(bin("isoflop").args(args).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

/// Whether two values are the same, but for the last digits of numbers that are not whole: those of another `log2` and
/// another order of sums.
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && b.iter()
                    .all(|(key, b)| a.get(key).is_some_and(|a| same(a, b)))
        }
        (Value::Number(a), Value::Number(b)) if a.is_u64() && b.is_u64() => a == b,
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-12 * b.abs()
        }
        _ => found == expected,
    }
}

/// Every candidate, every reason, and the sums over the candidates that are run.
fn check(grids: &Value, expected: &Value) {
    let (grids, expected) = (grids.as_array().unwrap(), expected.as_array().unwrap());
    assert_eq!(grids.len(), expected.len());
    for (grid, expected) in grids.iter().zip(expected) {
        assert_eq!(grid["budget"], expected["budget"]);
        let mut left_out = grid["left_out"].clone();
        for left in left_out.as_array_mut().unwrap() {
            // the same in words
            assert!(!left["reason"].as_str().unwrap().is_empty());
            left.as_object_mut().unwrap().remove("reason");
        }
        for (found, key) in [
            (&grid["candidates"], "candidates"),
            (&left_out, "left_out"),
            (&grid["kept"], "kept"),
        ] {
            assert!(
                same(found, &expected[key]),
                "{key}: {found:#}\nexpected {:#}",
                expected[key]
            );
        }
    }
}

#[test]
fn the_grids_of_the_recipes_budgets_are_the_recipes() {
    let expected = read("isoflop-grids.json");
    let grids = isoflop(&["sweep"]);
    assert_eq!(grids.as_array().unwrap().len(), 7);
    check(&grids, &expected["sweep"]);
    for grid in grids.as_array().unwrap() {
        assert_eq!(grid["vocab"], expected["vocab"]);
        assert_eq!(grid["seq_len"], expected["seq_len"]);
        assert_eq!(grid["convention"], "forward");
    }
}

#[test]
fn the_recipes_targets_are_the_recipes() {
    check(
        &isoflop(&["target"]),
        &read("isoflop-grids.json")["targets"],
    );
}

/// Two budgets, computed with the reference implementation.
#[test]
fn the_sample_of_the_reference_is_met() {
    let sample = read("isoflop-grid-sample.json");
    let budgets = sample["budgets"].as_object().unwrap();
    assert_eq!(budgets.len(), 2);
    for (budget, expected) in budgets {
        let grid = isoflop(&["sweep", "--budget", budget]);
        assert!(same(&grid["candidates"], expected), "{grid:#}");
    }
}

#[test]
fn a_target_that_a_rule_refuses_is_shown_with_the_rule() {
    let mut command = bin("isoflop");
    command.args(["target", "--budget", "1e18", "--budget", "1e20"]);
    let refused = run(command.args(["--hidden", "2304", "--hidden", "512"]));
    assert_eq!(refused.code, Some(1));
    for expected in [
        "budget 1e18 has no run of width 2304: batch 1 < 8",
        "budget 1e20 has no run of width 512: ",
        "steps >= 400000",
    ] {
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    assert!(refused.stdout.contains("2304"), "{}", refused.stdout);
}

#[test]
fn what_no_grid_can_be_of_is_refused() {
    for (args, expected) in [
        (["--budget", "0"], "not a positive, finite number"),
        (["--budget", "-1e18"], "not a positive, finite number"),
        (["--budget", "nan"], "not a positive, finite number"),
        (["--budget", "1e15"], "16 have a batch under 8"),
        (["--budget", "1e30"], "8 take 400000 steps or more"),
        (["--budget", "much"], "invalid value 'much'"),
        (["--hidden", "256..128"], "--hidden is 256"),
        (["--hidden", "256"], "such as 64..256"),
        (["--hidden", "1..99999999999"], "--hidden is 99999999999"),
        (["--step", "0"], "--step is 0"),
        (["--vocab", "0"], "--vocab is 0"),
        (["--lr-constant", "nan"], "--lr-constant is NaN"),
        (["--convention", "backward"], "6nd"),
    ] {
        let refused = run(bin("isoflop").arg("sweep").args(args));
        assert!(matches!(refused.code, Some(1 | 2)), "{args:?}");
        assert!(
            refused.stderr.contains(expected),
            "{args:?}: {}",
            refused.stderr
        );
        assert_eq!(refused.stdout, "", "{args:?}");
    }
}
