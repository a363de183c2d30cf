//! Numbers as the paper writes them: `.95*37/241`, `.217 - (n-1)*.053*.336`, `.003*sqrt(batch/256)`.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = factor { ("*" | "/") factor }
//! factor  = "-" factor | "(" sum ")" | "sqrt" "(" sum ")" | number | parameter
//! ```

use super::file::Amount;

/// Longest expression, which bounds how deep one can be nested.
const MAX_LEN: usize = 256;

/// Values by name, in the order in which a mixture declares them.
pub(super) type Parameters = Vec<(String, f64)>;

impl Amount {
    /// Its value, a finite number.
    pub(super) fn value(&self, parameters: &Parameters) -> Result<f64, String> {
        match self {
            Amount::Number(value) => finite(*value),
            Amount::Expression(text) => evaluate(text, parameters),
        }
    }
}

/// The value of an expression, a finite number: `+ - * / ( )`, `sqrt( )`, numbers and parameters.
///
/// # Errors
/// What is wrong with it: a sentence that quotes the expression.
pub fn evaluate(text: &str, parameters: &[(String, f64)]) -> Result<f64, String> {
    let fail = |problem: String| format!("expression {text:?}: {problem}");
    if text.len() > MAX_LEN {
        return Err(format!(
            "an expression of {} bytes; at most {MAX_LEN} are taken",
            text.len()
        ));
    }
    let mut parser = Parser {
        rest: text,
        parameters,
    };
    let value = parser.sum().map_err(fail)?;
    parser.skip_space();
    match parser.rest {
        "" => finite(value).map_err(fail),
        rest => Err(fail(format!("expected an operator before {rest:?}"))),
    }
}

/// Whether `text` can be the name of a parameter.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(starts_name) && text.chars().all(in_name)
}

/// The values of parameters, for messages; empty without any.
pub(super) fn with(parameters: &Parameters) -> String {
    match parameters.is_empty() {
        true => String::new(),
        false => format!(" with {}", list(parameters)),
    }
}

/// `n=2, w=0.5`
pub(super) fn list(parameters: &Parameters) -> String {
    let each = parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    each.collect::<Vec<_>>().join(", ")
}

fn finite(value: f64) -> Result<f64, String> {
    match value.is_finite() {
        true => Ok(value),
        false => Err(format!("{value} is not a finite number")),
    }
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

struct Parser<'a> {
    rest: &'a str,
    parameters: &'a [(String, f64)],
}

impl<'a> Parser<'a> {
    fn sum(&mut self) -> Result<f64, String> {
        let mut value = self.product()?;
        loop {
            match self.take(['+', '-']) {
                Some('+') => value += self.product()?,
                Some(_) => value -= self.product()?,
                None => return Ok(value),
            }
        }
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut value = self.factor()?;
        loop {
            match self.take(['*', '/']) {
                Some('*') => value *= self.factor()?,
                Some(_) => value /= self.factor()?,
                None => return Ok(value),
            }
        }
    }

    fn factor(&mut self) -> Result<f64, String> {
        match self.take(['-', '(']) {
            Some('-') => Ok(-self.factor()?),
            Some(_) => {
                let value = self.sum()?;
                let closed = self.take([')', ')']);
                closed.map(|_| value).ok_or("a `(` is not closed".into())
            }
            None if self.rest.starts_with(starts_name) => self.name(),
            None => self.number(),
        }
    }

    /// A parameter, or `sqrt` of what is in parentheses behind it.
    fn name(&mut self) -> Result<f64, String> {
        let name = self.take_while(in_name);
        self.skip_space();
        match name == "sqrt" && self.rest.starts_with('(') {
            true => Ok(self.factor()?.sqrt()),
            false => self.parameter(name),
        }
    }

    fn parameter(&self, name: &str) -> Result<f64, String> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<_> = self.parameters.iter().map(|(n, _)| n.as_str()).collect();
            match known.is_empty() {
                true => format!("there is no parameter {name:?}, nor any other"),
                false => format!(
                    "there is no parameter {name:?}; known: {}",
                    known.join(", ")
                ),
            }
        })
    }

    fn number(&mut self) -> Result<f64, String> {
        let begin = self.rest;
        self.take_while(|c| c.is_ascii_digit() || c == '.');
        if begin.len() > self.rest.len() {
            let digits = self.rest.trim_start_matches(['e', 'E']);
            let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
            if self.rest.starts_with(['e', 'E']) && digits.starts_with(|c: char| c.is_ascii_digit())
            {
                self.rest = digits;
                self.take_while(|c| c.is_ascii_digit());
            }
        }
        let number = &begin[..begin.len() - self.rest.len()];
        number.parse().map_err(|_| match begin.chars().next() {
            Some(found) if number.is_empty() => format!("expected a number, found {found:?}"),
            Some(_) => format!("{number:?} is not a number"),
            None => "expected a number, found the end".into(),
        })
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes one of two characters, after white space.
    fn take(&mut self, wanted: [char; 2]) -> Option<char> {
        self.skip_space();
        let found = self.rest.chars().next().filter(|c| wanted.contains(c))?;
        self.rest = &self.rest[1..];
        Some(found)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        vec![("n".into(), 3.0), ("total_tokens".into(), 5e11)]
    }

    #[test]
    fn the_papers_formulas_have_the_values_of_a_calculator() {
        for (text, expected) in [
            (".95*37/241", 0.95 * 37.0 / 241.0),
            (
                ".217 - (n-1)*.053*.336",
                0.217 - (3.0 - 1.0) * 0.053 * 0.336,
            ),
            ("1/3 * 73/138", 1.0 / 3.0 * 73.0 / 138.0),
            ("1 - 2 - 3", -4.0),
            ("8/4/2", 1.0),
            ("2 - -3*(-1)", -1.0),
            ("total_tokens * (1 - .2)", 4e11),
            (" 1.5e-2+2E3 ", 2000.015),
            ("2*3+4*5", 26.0),
            ("2*sqrt (n+1) / sqrt(16)", 1.0),
        ] {
            assert_eq!(evaluate(text, &parameters()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_with_the_reason() {
        for (text, expected) in [
            ("", "found the end"),
            ("1 +", "found the end"),
            ("(1", "not closed"),
            ("1)", "before \")\""),
            ("1 2", "before \"2\""),
            ("2e", "before \"e\""),
            ("1.2.3", "\"1.2.3\" is not a number"),
            ("*2", "found '*'"),
            ("½", "found '½'"),
            ("m", "no parameter \"m\"; known: n, total_tokens"),
            ("1/(n-3)", "not a finite number"),
            ("sqrt(-1)", "not a finite number"),
            ("sqrt 2", "no parameter \"sqrt\""),
            (&"(".repeat(257), "at most 256"),
        ] {
            let problem = evaluate(text, &parameters()).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
        let problem = evaluate("n", &Parameters::new()).unwrap_err();
        assert!(problem.contains("nor any other"), "{problem}");
    }

    #[test]
    fn names_of_parameters() {
        for name in ["n", "total_tokens", "_", "r2"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "2r", "a-b", "ä", "a b"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
