//! What is wrong with a mixture is said with its file and line, and what to do. The line expected is the one that ends with `#!`.

use mixes::Mixture;
use std::fs;
use tempfile::TempDir;

const HEAD: &str = "name = \"a\"\nvalidation_fraction = 0.1\n";

/// Parses `text`, which must fail in its marked line (the first, if none is marked) with a message that has all of `expected`.
fn refused(text: &str, expected: &[&str]) {
    let error = Mixture::parse(text, "bad.toml")
        .map(|m| m.name)
        .unwrap_err()
        .to_string();
    let line = 1 + text
        .lines()
        .position(|line| line.ends_with("#!"))
        .unwrap_or_default();
    let place = format!("mixture bad.toml, line {line}: ");
    for expected in [place.as_str()].iter().chain(expected) {
        assert!(
            error.contains(expected),
            "{text}\n{error}\nlacks {expected}"
        );
    }
}

/// The same with the usual first lines before it.
fn refused_body(body: &str, expected: &[&str]) {
    refused(&format!("{HEAD}{body}"), expected);
}

#[test]
fn keys_and_types() {
    refused("nome = \"a\" #!", &["unknown field `nome`"]);
    refused("name = \"a\"", &["missing field `validation_fraction`"]);
    refused("name = \"a\"\nname = \"b\" #!", &["duplicate key"]);
    for fraction in ["1.0", "-0.1", "nan"] {
        let text = format!("name = \"a\"\nvalidation_fraction = {fraction} #!");
        refused(&text, &["not a fraction", "below 1"]);
    }
    refused_body(
        "[[components]]\nsource = \"x\"\nveiw = \"both\" #!",
        &["unknown field `veiw`"],
    );
    refused_body(
        "[[components]]\nsource = \"x\"\nview = \"bath\" #!",
        &["`bath`", "text-first", "cvss-1"],
    );
    refused_body(
        "[[components]]\nsource = 3 #!",
        &["the name of a folder, or a list"],
    );
    refused_body(
        "[[components]]\nweight = true #!",
        &["a number or an expression"],
    );
    refused_body("stop = \"never\" #!", &["first_exhausted", "all_exhausted"]);
    refused_body("packing = \"tight\" #!", &["best-fit"]);
    refused_body("permutation = \"cubic\" #!", &["feistel", "linear"]);
    refused_body("block_size = 0 #!", &["at least 1"]);
    refused_body("[[stages]]\nstart = 0 #!", &["unknown field `start`"]);
    refused(
        "name = \"a\"\nvalidation_fraction = 0.1\n",
        &["at least one component"],
    );
}

#[test]
fn components() {
    let one = |fields: &str| format!("components = [\n{{ {fields} }}, #!\n]");
    for (fields, expected) in [
        ("weight = 1", "either `source` or `mix`"),
        (
            "source = \"x\", mix = \"emilia\", weight = 1",
            "either `source` or `mix`",
        ),
        ("source = \"x\", weight = 1", "\"x\" needs a `view`"),
        ("source = \"x\", view = \"both\"", "\"x\" needs a `weight`"),
        (
            "source = [], view = \"both\", weight = 1",
            "at least one source",
        ),
        (
            "source = [\"x\", \"x\"], view = \"both\", weight = 1",
            "\"x\" is named twice",
        ),
        (
            "source = [\"x\", \"y\"], view = \"both\", weight = 1",
            "several sources needs a `name`",
        ),
        (
            "source = \"../x\", view = \"both\", weight = 1",
            "below the data folder",
        ),
        (
            "source = [\"/x\"], view = \"both\", weight = 1",
            "below the data folder",
        ),
        (
            "source = \"\", view = \"both\", weight = 1",
            "below the data folder",
        ),
        (
            "source = \"x\", view = \"both\", codebooks = 0, weight = 1",
            "at least 1",
        ),
        (
            "source = \"x\", view = \"semantic\", codebooks = 8, weight = 1",
            "codebook 0 only: leave codebooks out",
        ),
        (
            "mix = \"emilia\", view = \"both\", weight = 1",
            "those of the mix; remove them",
        ),
    ] {
        refused_body(&one(fields), &[expected]);
    }
}

#[test]
fn a_component_named_twice() {
    let two = |second: &str| {
        format!(
            "components = [\n{{ source = \"x\", view = \"both\", weight = 1 }},\n{{ {second}, weight = 1 }} #!\n]"
        )
    };
    refused_body(
        &two("source = \"x\", view = \"both\""),
        &["\"x\" is named twice", "line 4", "remove one"],
    );
    refused_body(
        &two("source = \"x\", view = \"both\", name = \"z\""),
        &["\"z\" is named twice", "line 4"],
    );
    refused_body(
        &two("source = \"x\", view = \"asr\""),
        &["\"x\" is named twice", "line 4", "another `name`"],
    );
    refused_body(
        &two("mix = \"emilia\", name = \"x\""),
        &["\"x\" is named twice"],
    );
    let apart = two("source = \"x\", view = \"asr\", name = \"y\"");
    Mixture::parse(&format!("{HEAD}{apart}"), "good.toml").unwrap();
}

#[test]
fn weights_that_are_not_above_zero_or_vanish() {
    let weights = |first: &str, second: &str| {
        format!(
            "parameters = {{ r = 2 }}\ncomponents = [\n{{ source = \"x\", view = \"both\", weight = {first} }},\n\
             {{ source = \"y\", view = \"text\", weight = {second} }} #!\n]"
        )
    };
    for (second, expected) in [
        (
            "0",
            "weight 0 of \"y\" must be above 0; leave the component out",
        ),
        ("-1", "must be above 0"),
        ("inf", "not a finite number"),
        ("nan", "not a finite number"),
        (
            "\"1 - r\"",
            "weight \"1 - r\" of \"y\" is -1 with r=2; it must not be below 0",
        ),
        ("\"1/0\"", "not a finite number"),
        ("\"q\"", "no parameter \"q\"; known: r"),
        ("\"1 +\"", "found the end"),
        (
            "0.0004",
            "\"y\" has a share of 3.998e-4, less than one of the 2048 sequences of a block; raise its weight, or set block_size to at least 2501",
        ),
    ] {
        refused_body(&weights("1", second), &[expected]);
    }
    let enough = format!("block_size = 2501\n{}", weights("1", "0.0004"));
    Mixture::parse(&format!("{HEAD}{enough}"), "good.toml").unwrap();
    let zeros = weights("\"r - 2\"", "\"2 - r\"").replace("#!", "");
    refused(&format!("{HEAD}{zeros}"), &["all weights are 0"]);
}

#[test]
fn parameters_and_arguments() {
    refused_body(
        "parameters = { n = \"2*3\" } #!",
        &["give a number, or \"required\""],
    );
    refused_body(
        "parameters = { \"2n\" = 1 } #!",
        &["cannot be the name of a parameter"],
    );
    let refused = |call: &str, expected: &[&str]| {
        let error = Mixture::open(call).map(|m| m.name).unwrap_err().to_string();
        for expected in expected {
            assert!(error.contains(expected), "{call}: {error}");
        }
    };
    refused(
        "cooldown(m=2)",
        &["cooldown", "no parameter \"m\"", "its parameters: n"],
    );
    refused(
        "cooldown(1, 2)",
        &["2 arguments are too many", "its parameters: n"],
    );
    refused("emilia(1)", &["too many", "no parameters"]);
    refused(
        "pretrain-to-cooldown(1e9, total_tokens=2e9)",
        &["total_tokens is given twice"],
    );
    refused(
        "nemotron",
        &["nemotron", "parameter r has no default", "nemotron(r=…)"],
    );
    refused("cooldown(n)", &["\"cooldown(n)\"", "no parameter \"n\""]);
    refused("cooldown(2", &["do not end with `)`"]);
    refused(
        "nemotron(2)",
        &["mixture nemotron, line 9: ", "\"1 - r\"", "with r=2"],
    );
    refused(
        "cooldwon",
        &["no mixture \"cooldwon\"", "did you mean \"cooldown\"?"],
    );
    refused("mix3_v1(2)", &["did you mean \"mix3-v1\"?"]);
    refused(
        "nonsense",
        &["known: anneal-mix2-v2, ", "quickstart", "path of a .toml"],
    );
    refused("no/such.toml(n=1)", &["cannot read mixture no/such.toml"]);
}

#[test]
fn stages() {
    let staged = |stages: &str| {
        format!(
            "components = [{{ source = \"x\", view = \"both\" }}, {{ source = \"y\", view = \"text\" }}]\n{stages}"
        )
    };
    let first = "[[stages]]\nstart_sequences = 0\nweights = { x = 1, y = 1 }\n";
    for (stages, expected) in [
        (
            "[[stages]] #!\nstart_sequences = 5\nweights = { x = 1, y = 1 }",
            "first stage must start at 0",
        ),
        (
            "[[stages]] #!\nweights = { x = 1, y = 1 }",
            "either `start_sequences` or `start_tokens`",
        ),
        (
            "[[stages]] #!\nstart_sequences = 0\nstart_tokens = 0\nmix = \"emilia\"",
            "either `start_sequences` or",
        ),
        (
            "[[stages]]\nstart_tokens = \"0-1\" #!\nmix = \"emilia\"",
            "cannot start at -1",
        ),
        (
            "[[stages]]\nstart_tokens = 1e16 #!\nmix = \"emilia\"",
            "cannot start at 1",
        ),
        (
            "[[stages]] #!\nstart_sequences = 0",
            "either `mix` or `weights`",
        ),
        (
            "[[stages]]\nstart_sequences = 0\nweights = { x = 1, z = 1 } #!",
            "no component \"z\"; known: x, y",
        ),
        (
            "[[stages]]\nstart_sequences = 0\nweights = { x = 1, y = 0 } #!",
            "weight 0 of \"y\" must be above 0",
        ),
        (
            "[[stages]] #!\nstart_sequences = 0\nweights = { x = \"1-1\", y = \"0\" }",
            "all weights are 0",
        ),
        (
            "[[stages]]\nstart_sequences = 0\nweights = { x = 1, y = 1e-5 } #!",
            "\"y\" has a share of 1.000e-5",
        ),
        (
            "[[stages]] #!\nstart_sequences = 0\ninterpolate = true\nweights = { x = 1, y = 1 }",
            "last stage has no next",
        ),
        (
            "F[[stages]] #!\nstart_sequences = 0\nmix = \"emilia\"",
            "starts at 0, and the one before it at 0",
        ),
        (
            "F[[stages]] #!\nstart_tokens = 9\nmix = \"emilia\"",
            "all stages must start at sequences, or all at tokens",
        ),
        (
            "F[[stages]]\nstart_sequences = 9\nmix = \"pretrain-to-cooldown\" #!",
            "has stages of its own",
        ),
    ] {
        refused_body(&staged(&stages.replace('F', first)), &[expected]);
    }
    let unused = "components = [\n{ source = \"x\", view = \"both\" },\n{ source = \"y\", view = \"text\" } #!\n]\n";
    let weighs_x = "[[stages]]\nstart_sequences = 0\nweights = { x = 1 }";
    refused_body(
        &format!("{unused}{weighs_x}"),
        &["no stage gives component \"y\" a weight"],
    );
    let weighed = unused.replace("\"text\"", "\"text\", weight = 1");
    refused_body(
        &format!("{weighed}{first}"),
        &["the [[stages]] say the weights"],
    );
    // On the way to another mix, a weight may be below one sequence of a block.
    let vanishing =
        "[[stages]]\nstart_sequences = 0\nweights = { x = 1, y = 1e-5 }\ninterpolate = true\n";
    let second = first.replace("= 0", "= 9999");
    let text = format!("{HEAD}{}{second}", staged(vanishing));
    Mixture::parse(&text, "good.toml").unwrap();
}

#[test]
fn mixes_within_mixes() {
    let including = |mix: &str| format!("components = [\n{{ mix = \"{mix}\", weight = 1 }} #!\n]");
    refused_body(&including("cooldwon"), &["did you mean \"cooldown\"?"]);
    refused_body(&including("cooldown(k=2)"), &["no parameter \"k\""]);
    refused_body(
        &including("cooldown(9+9)"),
        &["mixture cooldown, line 8: ", "with n=18"],
    );
    refused_body(
        &including("pretrain-to-cooldown"),
        &["has stages of its own"],
    );

    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("a.toml"), format!("{HEAD}{}", including("d/b.toml"))).unwrap();
    fs::write(
        path("d/b.toml"),
        format!("{HEAD}{}", including("../d/../a.toml")),
    )
    .unwrap();
    let error = Mixture::open(&path("a.toml")).unwrap_err().to_string();
    for expected in [
        "a.toml, line 4: ",
        "b.toml, line 4: ",
        "part of itself; take it out",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    // Found when the circle closes, not some rounds later.
    assert_eq!(error.matches("line 4: ").count(), 2, "{error}");
}
