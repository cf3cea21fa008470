//! Which members are verified, by regular expressions over their names as ILVerify writes them:
//! `[assembly]Namespace.Type` and `[assembly]Namespace.Type.Method`.

use regex::Regex;

use crate::code::Code;

/// Include and exclude patterns, and codes that are not reported.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    include: Vec<Regex>,
    exclude: Vec<Regex>,
    ignored: Vec<Code>,
}

/// A pattern that is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{pattern}' is not a regular expression: {reason}")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// Why.
    pub reason: String,
}

fn compile(pattern: &str) -> Result<Regex, BadPattern> {
    Regex::new(pattern).map_err(|error| BadPattern {
        pattern: pattern.to_owned(),
        reason: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
    })
}

impl Filter {
    /// Everything is verified and reported.
    pub fn new() -> Filter {
        Filter::default()
    }

    /// Verifies only what matches this or another include pattern.
    ///
    /// # Errors
    /// The pattern is malformed.
    pub fn include(&mut self, pattern: &str) -> Result<(), BadPattern> {
        self.include.push(compile(pattern)?);
        Ok(())
    }

    /// Does not verify what matches, even if it is included.
    ///
    /// # Errors
    /// The pattern is malformed.
    pub fn exclude(&mut self, pattern: &str) -> Result<(), BadPattern> {
        self.exclude.push(compile(pattern)?);
        Ok(())
    }

    /// Does not report findings with this code.
    pub fn ignore(&mut self, code: Code) {
        self.ignored.push(code);
    }

    /// Whether there are patterns at all; if not, names need not be made.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether the member of this name is verified.
    pub fn selects(&self, name: &str) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|p| p.is_match(name));
        included && !self.exclude.iter().any(|p| p.is_match(name))
    }

    /// Whether findings with this code are reported.
    pub fn reports(&self, code: Code) -> bool {
        !self.ignored.contains(&code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusion_wins() {
        let mut filter = Filter::new();
        assert!(filter.selects("[a]N.T.M"));
        filter.include(r"N\.T").unwrap();
        filter.exclude("M$").unwrap();
        assert!(filter.selects("[a]N.T.X") && !filter.selects("[a]N.T.M") && !filter.selects("[a]U.T"));
        assert!(filter.include("(").is_err());
    }
}
