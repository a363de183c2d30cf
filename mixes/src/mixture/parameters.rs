//! The parameters of a mixture, from their declaration and the arguments.

use super::expression::{Parameters, is_name};
use super::file::{Amount, MixFile, Origin};
use crate::error::Result;
use toml::Spanned;

/// The default value of a parameter that has none.
const REQUIRED: &str = "required";

/// The parameters of a mixture in the order of the file, with their default values.
pub(super) fn declared(origin: &Origin, file: &MixFile) -> Result<Vec<(String, Option<f64>)>> {
    let mut places: Vec<_> = file.parameters.iter().collect();
    places.sort_by_key(|(_, default)| default.span().start);
    let default = |(name, default): (&String, &Spanned<Amount>)| {
        let problem = |problem| Err(origin.problem(default.span(), problem));
        if !is_name(name) {
            return problem(format!(
                "{name:?} cannot be the name of a parameter: use letters, digits and _"
            ));
        }
        match default.get_ref() {
            Amount::Number(value) => Ok((name.clone(), Some(*value))),
            Amount::Expression(text) if text == REQUIRED => Ok((name.clone(), None)),
            Amount::Expression(text) => problem(format!(
                "parameter {name} is {text:?}: give a number, or {REQUIRED:?} if it has no default"
            )),
        }
    };
    places.into_iter().map(default).collect()
}

/// Gives each parameter of `mixture` its argument or its default value.
pub(super) fn bind(
    mixture: &str,
    declared: &[(String, Option<f64>)],
    arguments: &[(Option<&str>, f64)],
) -> Result<Parameters, String> {
    let known = || match declared.is_empty() {
        true => "it has no parameters".to_string(),
        false => {
            let names: Vec<_> = declared.iter().map(|(name, _)| name.as_str()).collect();
            format!("its parameters: {}", names.join(", "))
        }
    };
    let mut values: Vec<Option<f64>> = vec![None; declared.len()];
    for (place, (name, value)) in arguments.iter().enumerate() {
        let found = match name {
            Some(name) => declared.iter().position(|(known, _)| known == name),
            None => Some(place).filter(|&place| place < declared.len()),
        };
        let Some(found) = found else {
            return Err(match name {
                Some(name) => format!("there is no parameter {name:?}; {}", known()),
                None => format!("{} arguments are too many; {}", arguments.len(), known()),
            });
        };
        if values[found].replace(*value).is_some() {
            return Err(format!("parameter {} is given twice", declared[found].0));
        }
    }
    let each = declared.iter().zip(values).map(|((name, default), value)| {
        let value = value.or(*default);
        let missing = || format!("parameter {name} has no default: write {mixture}({name}=…)");
        value.map(|v| (name.clone(), v)).ok_or_else(missing)
    });
    each.collect()
}
