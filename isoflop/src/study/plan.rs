//! From a candidate to the plan of its run: the recipe's experiment with the candidate's numbers.

use experiments::{Experiment, Plan};

use crate::grid::{Candidate, Rules};
use crate::{Error, Result};

/// The recipe's experiment: its optimizer, schedule and mixture, and the budgets and targets of its study.
pub const RECIPE: &str = "exp1.6";

/// The recipe's experiment.
///
/// # Errors
/// None, unless its file is wrong.
pub fn recipe() -> Result<Experiment> {
    experiments::load(RECIPE).map_err(|source| Error::Plan(Box::new(source)))
}

/// What the runs of a study have in common.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// Mixture, if not the recipe's: a built-in name or the path of a TOML file.
    pub mix: Option<String>,
    /// `key=value` overrides, the last word on any key.
    pub set: Vec<String>,
}

/// The plan of a candidate's run.
///
/// # Errors
/// Mixtures that there are not, overrides that are none, and values no run could use.
pub fn plan(candidate: &Candidate, rules: &Rules, common: &Common) -> Result<Plan> {
    let mut set: Vec<String> = [
        ("name", quoted(&name(candidate))),
        ("seq_len", rules.seq_len.to_string()),
        ("batch_size", candidate.batch.to_string()),
        ("steps", candidate.steps.to_string()),
        ("optimizer.lr", format!("{:?}", candidate.lr)),
        ("optimizer.beta2", format!("{:?}", candidate.beta2)),
        ("model.hidden_size", candidate.hidden.to_string()),
        (
            "model.intermediate_size",
            candidate.intermediate.to_string(),
        ),
        ("model.num_hidden_layers", candidate.layers.to_string()),
        ("model.num_attention_heads", candidate.heads.to_string()),
        ("model.num_key_value_heads", candidate.kv_heads.to_string()),
        (
            "model.head_dim",
            (candidate.hidden / candidate.heads).to_string(),
        ),
        ("model.max_position_embeddings", rules.seq_len.to_string()),
    ]
    .map(|(key, value)| format!("{key}={value}"))
    .into();
    set.extend(common.mix.iter().map(|mix| format!("mix={}", quoted(mix))));
    set.extend(common.set.iter().cloned());
    let resolved = recipe()?.resolve(&[], &set);
    let plan = resolved
        .map_err(|source| Error::Plan(Box::new(source)))?
        .plan;
    match is_of(&plan, candidate, rules) {
        true => Ok(plan),
        false => Err(Error::OffBudget {
            name: name(candidate),
        }),
    }
}

/// Whether a plan is still what was derived, after all that was set: its name, shape and tokens.
fn is_of(plan: &Plan, candidate: &Candidate, rules: &Rules) -> bool {
    let model = &plan.model;
    let shape = [
        model.hidden_size,
        model.intermediate_size,
        model.num_hidden_layers,
        model.num_attention_heads,
        model.num_key_value_heads,
        model.num_attention_heads * model.head_dim,
        plan.seq_len,
    ];
    let derived = [
        candidate.hidden,
        candidate.intermediate,
        candidate.layers,
        candidate.heads,
        candidate.kv_heads,
        candidate.hidden,
        rules.seq_len,
    ];
    shape == derived
        && !model.tie_word_embeddings
        && plan.tokens() == candidate.tokens
        && plan.name == name(candidate)
}

/// Name of a candidate's run: `1e12-h64`.
pub fn name(candidate: &Candidate) -> String {
    format!("{:e}-h{}", candidate.budget, candidate.hidden)
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The targets are written into exp1.6 number by number; what is derived must resolve to the same plans.
    #[test]
    fn the_recipes_targets_are_derived() {
        let recipe = recipe().unwrap();
        let rules = Rules::default();
        let variants = recipe.variants();
        assert_eq!(variants.len(), 7);
        for variant in variants {
            let (budget, hidden) = variant.name.split_once('-').unwrap();
            let (budget, hidden) = (budget.parse().unwrap(), hidden.parse().unwrap());
            let candidate = Candidate::derive(&rules, budget, hidden).unwrap();
            let found = plan(&candidate, &rules, &Common::default()).unwrap();
            let selection = [variant.name.clone()];
            let mut expected = recipe.resolve(&selection, &[]).unwrap().plan;
            assert_eq!(expected.name, format!("exp1.6-{}", variant.name));
            expected.name = name(&candidate);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_set_has_the_last_word() {
        let rules = Rules::default();
        let candidate = Candidate::derive(&rules, 3e18, 512).unwrap();
        let common = |set: &str| Common {
            mix: Some("quickstart".into()),
            set: vec![set.into()],
        };
        let found = plan(&candidate, &rules, &common("optimizer.beta2=0.9")).unwrap();
        assert_eq!(found.name, "3e18-h512");
        assert_eq!(
            (found.mix.as_str(), found.optimizer.beta2),
            ("quickstart", 0.9)
        );
        let error = plan(&candidate, &rules, &common("optimizer.beta=0.9")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("--set optimizer.beta=0.9: unknown key `beta`"),
            "{error}"
        );
    }

    #[test]
    fn what_the_budget_is_spent_on_cannot_be_set() {
        let rules = Rules::default();
        let candidate = Candidate::derive(&rules, 3e18, 512).unwrap();
        for set in [
            "steps=7",
            "batch_size=8",
            "seq_len=256",
            "model.num_hidden_layers=7",
            "model.head_dim=64",
            "model.tie_word_embeddings=true",
            "name=mine",
        ] {
            let common = Common {
                mix: None,
                set: vec![set.into()],
            };
            let error = plan(&candidate, &rules, &common).unwrap_err().to_string();
            assert!(
                error.contains("3e18-h512 is not what was derived"),
                "{set}: {error}"
            );
        }
    }
}
