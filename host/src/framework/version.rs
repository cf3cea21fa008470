//! Framework versions: semantic versions without build metadata.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version such as `9.0.5` or `9.0.0-preview.3.24172.9`, ordered as semantic versioning orders them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
    /// Dot-separated identifiers after the hyphen; empty for a release.
    pub prerelease: String,
}

impl Version {
    /// A release version.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Version {
            major,
            minor,
            patch,
            prerelease: String::new(),
        }
    }

    pub fn is_prerelease(&self) -> bool {
        !self.prerelease.is_empty()
    }

    fn numbers(&self) -> (u32, u32, u32) {
        (self.major, self.minor, self.patch)
    }
}

/// The text is not a version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a version (expected MAJOR.MINOR.PATCH)")]
pub struct VersionError(String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError(text.to_owned());
        let without_build = text.split('+').next().unwrap_or_default();
        let (numbers, prerelease) = without_build.split_once('-').unwrap_or((without_build, ""));
        let mut parts = numbers.split('.').map(|part| {
            // `u32::from_str` accepts a leading plus sign, a version does not.
            part.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| part.parse().ok())
                .flatten()
        });
        let mut next = || parts.next().flatten().ok_or_else(error);
        let version = Version {
            major: next()?,
            minor: next()?,
            patch: next()?,
            prerelease: prerelease.to_owned(),
        };
        let bad_tail = parts.next().is_some() || without_build.ends_with('-');
        if bad_tail { Err(error()) } else { Ok(version) }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers()
            .cmp(&other.numbers())
            .then_with(|| compare_prerelease(&self.prerelease, &other.prerelease))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Semantic versioning 2.0.0, rule 11: a release is above its prereleases; numeric identifiers compare as numbers and are below
/// textual ones; a longer list wins when all before is equal.
fn compare_prerelease(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(x), Some(y)) => match (x.parse::<u64>(), y.parse::<u64>()) {
                (Ok(x), Ok(y)) => x.cmp(&y),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => x.cmp(y),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if self.is_prerelease() {
            write!(f, "-{}", self.prerelease)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().expect("a version")
    }

    #[test]
    fn order_is_that_of_semantic_versioning() {
        let sorted = [
            "8.0.15",
            "9.0.0-alpha",
            "9.0.0-preview.2",
            "9.0.0-preview.10",
            "9.0.0-preview.10.1",
            "9.0.0-preview.x",
            "9.0.0",
            "9.0.9",
            "9.0.10",
            "9.1.0",
            "10.0.0",
        ];
        for pair in sorted.windows(2) {
            assert!(v(pair[0]) < v(pair[1]), "{} < {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn build_metadata_is_ignored() {
        assert_eq!(v("9.0.5+abc.1-2"), Version::new(9, 0, 5));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "9",
            "9.0",
            "9.0.x",
            "9.0.5.1",
            "v9.0.5",
            "9.0.-1",
            "9.0.+1",
            "9.0.0-",
            "99999999999.0.0",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
