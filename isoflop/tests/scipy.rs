//! The same numbers as NumPy and SciPy: `scripts/make_isoflop_fit_fixtures.py` makes the study and fits it.

use std::path::{Path, PathBuf};

use isoflop::fit::Fit;
use isoflop::fit::bootstrap::Bootstrap;
use isoflop::fit::profile::Shape;
use isoflop::fit::profiles::Profiles;
use isoflop::observation::Observations;
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/isoflop-fit")
        .join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

fn fit() -> Fit {
    let observations = Observations::read(&fixture("runs.csv")).unwrap();
    Fit::new(
        observations,
        Bootstrap {
            resamples: 40,
            seed: 0,
        },
    )
}

fn assert_close(name: &str, found: f64, expected: &Value, relative: f64) {
    let expected = expected.as_f64().unwrap();
    assert!(
        (found / expected - 1.0).abs() <= relative,
        "{name}: {found} instead of {expected}"
    );
}

/// Both solve the same linear equations in doubles.
const EXACT: f64 = 1e-9;

fn assert_laws(name: &str, profiles: &Profiles, expected: &Value) {
    for (quantity, law) in [
        ("params", &profiles.params_law),
        ("tokens", &profiles.tokens_law),
    ] {
        let law = law.fitted().unwrap();
        assert_close(
            &format!("{name} {quantity}"),
            law.exponent.value,
            &expected[quantity]["exponent"],
            EXACT,
        );
        // a product with the budget to a power: errors grow with ln C
        assert_close(
            &format!("{name} {quantity}"),
            law.coefficient,
            &expected[quantity]["coefficient"],
            1e-7,
        );
    }
}

#[test]
fn parabolas_and_laws_are_those_of_numpy() {
    let (fit, expected) = (fit(), expected());
    let profiles = expected["profiles"].as_array().unwrap();
    assert_eq!(fit.profiles.budgets.len(), profiles.len());
    for (found, expected) in fit.profiles.budgets.iter().zip(profiles) {
        let name = format!("{:e}", found.budget);
        assert_eq!(
            found.shape != Shape::Outside,
            expected["inside"].as_bool().unwrap(),
            "{name}"
        );
        let minimum = found.minimum.unwrap();
        assert_close(&name, minimum.params.value, &expected["params"], EXACT);
        assert_close(&name, minimum.loss.value, &expected["loss"], EXACT);
        if found.shape.is_measured() {
            assert_close(&name, minimum.tokens.value, &expected["tokens"], EXACT);
        }
    }
    assert_laws("all", &fit.profiles, &expected["laws"]);
    for kind in &fit.by_kind {
        assert_laws(&kind.kind, &kind.profiles, &expected["kinds"][&kind.kind]);
    }
    assert_eq!(
        fit.by_kind.len(),
        expected["kinds"].as_object().unwrap().len()
    );
}

#[test]
fn the_surface_is_that_of_scipy() {
    let (fit, expected) = (fit(), &expected()["parametric"]);
    let surface = fit.parametric.fitted().unwrap();
    assert_close("objective", surface.objective, &expected["objective"], 1e-6);
    let parameters = [
        ("e", surface.e),
        ("a", surface.a),
        ("b", surface.b),
        ("alpha", surface.alpha),
        ("beta", surface.beta),
    ];
    for (name, found) in parameters {
        // the objective is flat about its minimum: SciPy's own descents differ by as much
        assert_close(name, found.value, &expected[name], 1e-4);
    }
    let cost = &expected["token_cost"];
    assert_close(
        "token cost",
        surface.token_cost.exponent,
        &cost["exponent"],
        EXACT,
    );
    assert_close(
        "token cost",
        surface.token_cost.coefficient,
        &cost["coefficient"],
        1e-7,
    );
}
