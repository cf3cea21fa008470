//! Which of the versions present satisfies what an application asks for: the host's roll-forward policies.

use std::str::FromStr;

use super::version::Version;

/// How far above the requested version the host may go (`rollForward` in runtimeconfig.json, `DOTNET_ROLL_FORWARD`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RollForward {
    /// Exactly the requested version.
    Disable,
    /// The highest patch of the requested minor version.
    LatestPatch,
    /// The requested minor version or, if it is absent, the lowest higher one; then its highest patch.
    #[default]
    Minor,
    /// The highest minor version of the requested major one, even if the requested one is present.
    LatestMinor,
    /// The requested major version or, if it is absent, the lowest higher one; then as `Minor`.
    Major,
    /// The highest version there is.
    LatestMajor,
}

impl FromStr for RollForward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const NAMES: [(&str, RollForward); 6] = [
            ("Disable", RollForward::Disable),
            ("LatestPatch", RollForward::LatestPatch),
            ("Minor", RollForward::Minor),
            ("LatestMinor", RollForward::LatestMinor),
            ("Major", RollForward::Major),
            ("LatestMajor", RollForward::LatestMajor),
        ];
        let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        named.map(|&(_, policy)| policy).ok_or_else(|| {
            format!(
                "unknown rollForward policy '{text}'; use one of {}",
                NAMES.map(|(name, _)| name).join(", ")
            )
        })
    }
}

/// Chooses among `available`; `None` if nothing there satisfies the request. A prerelease is taken only for a request that names
/// a prerelease, or when no release fits.
pub fn choose<'a>(requested: &Version, policy: RollForward, available: &[&'a Version]) -> Option<&'a Version> {
    let pick = |with_prerelease: bool| {
        let fitting = available
            .iter()
            .copied()
            .filter(|v| with_prerelease || !v.is_prerelease());
        choose_among(requested, policy, fitting.collect())
    };
    if requested.is_prerelease() {
        pick(true)
    } else {
        pick(false).or_else(|| pick(true))
    }
}

fn choose_among<'a>(requested: &Version, policy: RollForward, mut fitting: Vec<&'a Version>) -> Option<&'a Version> {
    fitting.retain(|&v| v >= requested);
    let lowest = |versions: &[&Version], key: fn(&Version) -> (u32, u32)| versions.iter().map(|v| key(v)).min();
    let band = |v: &Version| (v.major, v.minor);
    match policy {
        RollForward::Disable => fitting.retain(|&v| v == requested),
        RollForward::LatestPatch => fitting.retain(|v| band(v) == band(requested)),
        RollForward::Minor => {
            fitting.retain(|v| v.major == requested.major);
            let target = lowest(&fitting, |v| (v.major, v.minor))?;
            fitting.retain(|v| band(v) == target);
        }
        RollForward::LatestMinor => fitting.retain(|v| v.major == requested.major),
        RollForward::Major => {
            let target = lowest(&fitting, |v| (v.major, v.minor))?;
            fitting.retain(|v| band(v) == target);
        }
        RollForward::LatestMajor => {}
    }
    fitting.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(requested: &str, policy: RollForward, available: &[&str]) -> Option<String> {
        let available: Vec<Version> = available.iter().map(|v| v.parse().expect("a version")).collect();
        let requested = requested.parse().expect("a version");
        choose(&requested, policy, &available.iter().collect::<Vec<_>>()).map(ToString::to_string)
    }

    const MANY: &[&str] = &[
        "8.0.1", "9.0.1", "9.0.5", "9.2.0", "9.2.3", "9.4.1", "10.0.0", "10.1.2", "11.0.0",
    ];

    #[test]
    fn disable_takes_only_the_same() {
        assert_eq!(pick("9.0.1", RollForward::Disable, MANY).as_deref(), Some("9.0.1"));
        assert_eq!(pick("9.0.0", RollForward::Disable, MANY), None);
    }

    #[test]
    fn latest_patch_stays_in_the_minor_version() {
        assert_eq!(pick("9.0.0", RollForward::LatestPatch, MANY).as_deref(), Some("9.0.5"));
        assert_eq!(pick("9.1.0", RollForward::LatestPatch, MANY), None);
        assert_eq!(pick("9.0.6", RollForward::LatestPatch, MANY), None);
    }

    #[test]
    fn minor_takes_the_nearest_minor_version_and_its_latest_patch() {
        assert_eq!(pick("9.0.0", RollForward::Minor, MANY).as_deref(), Some("9.0.5"));
        assert_eq!(pick("9.1.0", RollForward::Minor, MANY).as_deref(), Some("9.2.3"));
        assert_eq!(pick("9.0.6", RollForward::Minor, MANY).as_deref(), Some("9.2.3"));
        assert_eq!(pick("9.5.0", RollForward::Minor, MANY), None);
        assert_eq!(pick("7.0.0", RollForward::Minor, MANY), None);
    }

    #[test]
    fn latest_minor_takes_the_highest_of_the_major_version() {
        assert_eq!(pick("9.0.0", RollForward::LatestMinor, MANY).as_deref(), Some("9.4.1"));
        assert_eq!(pick("12.0.0", RollForward::LatestMinor, MANY), None);
    }

    #[test]
    fn major_prefers_the_requested_major_version() {
        assert_eq!(pick("9.0.0", RollForward::Major, MANY).as_deref(), Some("9.0.5"));
        assert_eq!(pick("9.5.0", RollForward::Major, MANY).as_deref(), Some("10.0.0"));
        assert_eq!(pick("6.0.0", RollForward::Major, MANY).as_deref(), Some("8.0.1"));
        assert_eq!(pick("6.0.0", RollForward::LatestMajor, MANY).as_deref(), Some("11.0.0"));
    }

    #[test]
    fn prereleases_are_the_last_resort_of_a_release() {
        let mixed = &["9.0.0-rc.1", "9.0.1", "9.1.0-preview.1"];
        assert_eq!(pick("9.0.0", RollForward::LatestMinor, mixed).as_deref(), Some("9.0.1"));
        assert_eq!(
            pick("9.1.0-alpha", RollForward::Minor, mixed).as_deref(),
            Some("9.1.0-preview.1")
        );
        assert_eq!(
            pick("9.0.2", RollForward::Minor, mixed).as_deref(),
            Some("9.1.0-preview.1")
        );
    }

    #[test]
    fn policies_are_named_without_regard_to_case() {
        assert_eq!("latestminor".parse(), Ok(RollForward::LatestMinor));
        assert!(
            "sometimes"
                .parse::<RollForward>()
                .expect_err("unknown")
                .contains("LatestPatch")
        );
    }
}
