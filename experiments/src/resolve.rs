//! From a name or a file, and overrides, to a checked [`Plan`].

use std::path::Path;

use crate::check::check;
use crate::{Error, Plan, Result};

const BUILT_IN: &[(&str, &str)] = &[("quickstart", include_str!("../quickstart.toml"))];

/// Names of the built-in experiments.
pub fn names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).collect()
}

/// The plan of a built-in experiment or of a TOML file, with `key=value` overrides applied.
///
/// # Errors
/// [`Error`] for unknown experiments, unreadable files, unknown or missing keys, overrides that
/// are not `key=value`, and values no run could use.
pub fn resolve(name_or_path: &str, overrides: &[String]) -> Result<Plan> {
    let (origin, text) = read(name_or_path)?;
    let parse_error = |e: toml::de::Error| Error::Parse {
        origin: origin.clone(),
        message: e.to_string(),
    };
    // Parsed whole first, so that an error in the file itself is reported with its line.
    toml::from_str::<Plan>(&text).map_err(parse_error)?;
    let mut table: toml::Table = toml::from_str(&text).map_err(parse_error)?;
    for given in overrides {
        set(&mut table, given)?;
    }
    let plan: Plan = table.try_into().map_err(parse_error)?;
    check(&plan, &origin)?;
    mixes::Mixture::open(&plan.mix)?;
    Ok(plan)
}

fn read(name_or_path: &str) -> Result<(String, String)> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
        return Ok((format!("{name}.toml"), text.to_string()));
    }
    if !name_or_path.ends_with(".toml") {
        return Err(Error::Unknown {
            name: name_or_path.into(),
            known: names(),
        });
    }
    let path = Path::new(name_or_path);
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
        path: path.into(),
        source,
    })?;
    Ok((name_or_path.into(), text))
}

/// Sets a dotted key to a TOML value; what is not TOML is taken as a string.
fn set(table: &mut toml::Table, given: &str) -> Result<()> {
    let fail = |reason: &str| Error::Override {
        given: given.into(),
        reason: reason.into(),
    };
    let (key, value) = given.split_once('=').ok_or_else(|| fail("has no `=`"))?;
    let value = parse_value(value.trim());
    let mut parts: Vec<&str> = key.trim().split('.').collect();
    let last = parts
        .pop()
        .filter(|last| !last.is_empty())
        .ok_or_else(|| fail("names no key"))?;
    let mut at = table;
    for part in parts {
        let next = at
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = next
            .as_table_mut()
            .ok_or_else(|| fail(&format!("`{part}` is a value, not a table")))?;
    }
    // TOML tells 1 from 1.0; a user who overrides a real number with an integer means the number.
    let value = match (at.get(last), value) {
        (Some(toml::Value::Float(_)), toml::Value::Integer(i)) => toml::Value::Float(i as f64),
        (_, value) => value,
    };
    at.insert(last.into(), value);
    Ok(())
}

fn parse_value(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {text}"));
    match parsed.ok().and_then(|mut table| table.remove("value")) {
        Some(value) => value,
        None => toml::Value::String(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(given: &[&str]) -> Vec<String> {
        given.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn every_built_in_experiment_resolves() {
        for name in names() {
            assert_eq!(resolve(name, &[]).unwrap().name, name);
        }
    }

    #[test]
    fn overrides_are_applied_and_typed() {
        let plan = resolve(
            "quickstart",
            &overrides(&["optimizer.lr=1", "steps=7", "name=mine"]),
        )
        .unwrap();
        assert_eq!(
            (plan.optimizer.lr, plan.steps, plan.name.as_str()),
            (1.0, 7, "mine")
        );
    }

    #[test]
    fn errors_say_what_where_and_what_to_do() {
        let message = |given: &[&str]| {
            resolve("quickstart", &overrides(given))
                .unwrap_err()
                .to_string()
        };
        assert!(
            message(&["optimizer.lrr=1"]).contains("lrr"),
            "{}",
            message(&["optimizer.lrr=1"])
        );
        assert!(message(&["steps"]).contains("write it as --set"));
        assert!(message(&["steps=many"]).contains("steps"));
        assert!(
            message(&["model.num_key_value_heads=3"]).contains("divisor of num_attention_heads")
        );
        assert!(message(&["model.head_dim=5"]).contains("even"));
        assert!(message(&["optimizer.lr=nan"]).contains("finite"));
        assert!(
            message(&["mix=quickstat"]).contains("quickstart"),
            "{}",
            message(&["mix=quickstat"])
        );
        assert!(message(&["schedule.decay=0.95"]).contains("at most the run's"));
        assert!(message(&["schedule.kind=cosine"]).contains("decay"));
        assert!(
            message(&["model.max_position_embeddings=255"]).contains("max_position_embeddings")
        );
        assert!(message(&["ema_decay=1"]).contains("in [0, 1)"));
        assert!(message(&["loss.weights.text=-1"]).contains("not negative"));
        let unknown = resolve("quick", &[]).unwrap_err().to_string();
        assert!(unknown.contains("quickstart"), "{unknown}");
    }

    #[test]
    fn a_plan_survives_its_config_file() {
        let given = [
            "ema_decay=0.99",
            "skip_step.window=8",
            "optimizer.muon.lr=0.02",
            "loss.weights.acoustic={decay=100}",
        ];
        let plan = resolve("quickstart", &overrides(&given)).unwrap();
        let text = toml::to_string(&plan).unwrap();
        assert_eq!(toml::from_str::<Plan>(&text).unwrap(), plan);
    }
}
