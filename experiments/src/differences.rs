//! What was changed against an experiment's file.

use std::fmt;

use serde::Serialize;

use crate::Plan;

/// A key with another value than the recipe's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Dotted key.
    pub key: String,
    /// The recipe's value; none if the recipe does not have the key.
    pub recipe: Option<toml::Value>,
    /// The value instead; none if the key is left out.
    pub given: Option<toml::Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let print = |value: &Option<toml::Value>| match value {
            Some(value) => value.to_string(),
            None => "none".into(),
        };
        let (recipe, given) = (print(&self.recipe), print(&self.given));
        write!(f, "{}: {recipe} → {given}", self.key)
    }
}

/// The keys in which `plan` is not `recipe`, by name. Computed ones are among them: a smaller batch has more steps.
pub fn differences(plan: &Plan, recipe: &Plan) -> Vec<Difference> {
    let [given, recipe] = [plan, recipe].map(|plan| {
        let value = toml::Value::try_from(plan).expect("a plan has a TOML form");
        let mut found = Vec::new();
        leaves("", value, &mut found);
        found
    });
    let value = |of: &[(String, toml::Value)], key: &String| {
        let found = of.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.clone())
    };
    let mut keys: Vec<_> = given.iter().chain(&recipe).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let each = keys.into_iter().map(|key| Difference {
        key: key.clone(),
        recipe: value(&recipe, key),
        given: value(&given, key),
    });
    each.filter(|difference| difference.recipe != difference.given)
        .collect()
}

fn leaves(prefix: &str, value: toml::Value, found: &mut Vec<(String, toml::Value)>) {
    match value {
        toml::Value::Table(table) => {
            let dot = if prefix.is_empty() { "" } else { "." };
            for (key, value) in table {
                leaves(&format!("{prefix}{dot}{key}"), value, found);
            }
        }
        value => found.push((prefix.into(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve;

    #[test]
    fn changed_added_and_left_out_keys_are_named() {
        let recipe = resolve("quickstart", &[]).unwrap();
        assert_eq!(differences(&recipe, &recipe), []);
        let set = ["optimizer.lr=1", "ema_decay=0.5"].map(String::from);
        let plan = resolve("quickstart", &set).unwrap();
        let print = |plan, recipe| {
            let found: Vec<_> = differences(plan, recipe)
                .iter()
                .map(Difference::to_string)
                .collect();
            found
        };
        assert_eq!(
            print(&plan, &recipe),
            ["ema_decay: none → 0.5", "optimizer.lr: 0.003 → 1.0"]
        );
        assert_eq!(print(&recipe, &plan)[0], "ema_decay: 0.5 → none");
    }
}
