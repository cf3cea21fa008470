//! `APP.runtimeconfig.json`: which framework the application needs and its settings.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::json;
use crate::error::HostError;
use crate::framework::{FRAMEWORK_NAME, Request, RollForward, Version};

/// What the file says, checked.
#[derive(Debug)]
pub struct RuntimeConfigFile {
    /// The framework request; `None` if the application brings its framework along (self-contained).
    pub request: Option<Request>,
    /// `configProperties`, values as the text that `AppContext` gets.
    pub properties: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Root {
    #[serde(default)]
    runtime_options: Options,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Options {
    framework: Option<Reference>,
    frameworks: Vec<Reference>,
    included_frameworks: Vec<Reference>,
    roll_forward: Option<String>,
    config_properties: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    roll_forward: Option<String>,
}

impl RuntimeConfigFile {
    /// Reads `path`. `policy_override` is `DOTNET_ROLL_FORWARD`, which goes before what the file says.
    ///
    /// # Errors
    /// An unreadable or malformed file, an unknown policy, or a framework that Corten does not provide.
    pub fn read(path: &Path, policy_override: Option<&str>) -> Result<Self, HostError> {
        Self::from_root(path, json::read(path)?, policy_override)
    }

    fn from_root(path: &Path, root: Root, policy_override: Option<&str>) -> Result<Self, HostError> {
        let options = root.runtime_options;
        let bad = |reason: String| HostError::BadConfig {
            path: path.to_owned(),
            reason,
        };
        let references: Vec<&Reference> = options.framework.iter().chain(&options.frameworks).collect();
        let included: Vec<&Reference> = options.included_frameworks.iter().collect();
        if let Some(other) = references
            .iter()
            .chain(&included)
            .find(|reference| reference.name != FRAMEWORK_NAME)
        {
            return Err(bad(format!(
                "asks for the framework {} {}; Corten provides {FRAMEWORK_NAME} only",
                other.name,
                other.version.as_deref().unwrap_or_default()
            )));
        }
        let request = match (references.first(), included.first()) {
            (Some(reference), _) => {
                let version = reference.version.as_deref().ok_or_else(|| {
                    bad(format!(
                        "the reference to {FRAMEWORK_NAME} has no version; add one such as \"9.0.0\""
                    ))
                })?;
                let version: Version = version.parse().map_err(|e| bad(format!("framework version: {e}")))?;
                let policy = policy_override
                    .or(reference.roll_forward.as_deref())
                    .or(options.roll_forward.as_deref());
                let policy = policy.map_or(Ok(RollForward::default()), str::parse).map_err(bad)?;
                Some(Request {
                    version,
                    policy,
                    asked_by: Some(path.to_owned()),
                })
            }
            (None, Some(_)) => None,
            (None, None) => {
                return Err(bad(format!(
                    "names no framework; add \"framework\": {{ \"name\": \"{FRAMEWORK_NAME}\", \"version\": \"9.0.0\" }}"
                )));
            }
        };
        let properties = options
            .config_properties
            .into_iter()
            .map(|(name, value)| (name, property_text(&value)));
        Ok(RuntimeConfigFile {
            request,
            properties: properties.collect(),
        })
    }
}

/// Strings as they are, everything else as JSON writes it (`true`, `2`).
fn property_text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, policy: Option<&str>) -> Result<RuntimeConfigFile, HostError> {
        let path = Path::new("app.runtimeconfig.json");
        RuntimeConfigFile::from_root(path, json::parse(path, text)?, policy)
    }

    fn request(text: &str, policy: Option<&str>) -> Request {
        parse(text, policy)
            .expect("valid")
            .request
            .expect("asks for a framework")
    }

    #[test]
    fn the_sdks_file_is_understood() {
        let text = r#"{ "runtimeOptions": { "tfm": "net9.0", "framework": { "name": "Microsoft.NETCore.App", "version": "9.0.0" },
            "configProperties": { "System.GC.Server": true, "A.Number": 12, "A.String": "x" } } }"#;
        let file = parse(text, None).expect("valid");
        let properties = [("A.Number", "12"), ("A.String", "x"), ("System.GC.Server", "true")];
        assert_eq!(file.properties, properties.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let request = file.request.expect("framework-dependent");
        assert_eq!(
            (request.version, request.policy),
            (Version::new(9, 0, 0), RollForward::Minor)
        );
    }

    #[test]
    fn policies_environment_then_reference_then_options() {
        let text = r#"{ "runtimeOptions": { "rollForward": "Disable",
            "frameworks": [{ "name": "Microsoft.NETCore.App", "version": "9.0.0", "rollForward": "latestPatch" }] } }"#;
        assert_eq!(request(text, None).policy, RollForward::LatestPatch);
        assert_eq!(request(text, Some("Major")).policy, RollForward::Major);
        let text = text.replace(r#", "rollForward": "latestPatch""#, "");
        assert_eq!(request(&text, None).policy, RollForward::Disable);
    }

    #[test]
    fn self_contained_asks_for_nothing() {
        let text = r#"{ "runtimeOptions": { "includedFrameworks": [{ "name": "Microsoft.NETCore.App", "version": "9.0.5" }] } }"#;
        assert!(parse(text, None).expect("valid").request.is_none());
    }

    #[test]
    fn what_cannot_be_is_explained() {
        let cases = [
            (r#"{ "runtimeOptions": {} }"#, "names no framework"),
            (r#"{}"#, "names no framework"),
            (
                r#"{ "runtimeOptions": { "framework": { "name": "Microsoft.AspNetCore.App", "version": "9.0.0" } } }"#,
                "AspNetCore",
            ),
            (
                r#"{ "runtimeOptions": { "framework": { "name": "Microsoft.NETCore.App" } } }"#,
                "no version",
            ),
            (
                r#"{ "runtimeOptions": { "framework": { "name": "Microsoft.NETCore.App", "version": "nine" } } }"#,
                "'nine'",
            ),
            (
                r#"{ "runtimeOptions": { "rollForward": "Up", "framework": { "name": "Microsoft.NETCore.App", "version": "9.0.0" } } }"#,
                "'Up'",
            ),
            (r#"{ "runtimeOptions": 5 }"#, "not valid"),
        ];
        for (text, part) in cases {
            let message = parse(text, None).expect_err(text).to_string();
            assert!(
                message.contains(part) && message.starts_with("app.runtimeconfig.json: "),
                "{message}"
            );
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
