//! Writing findings: lines for people, JSON lines for scripts, SARIF 2.1.0 for code-scanning services.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use crate::code::Code;
use crate::finding::Finding;

/// How findings are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// One line each: `[Code] assembly Namespace.Type::Method +0x0012: message`.
    #[default]
    Text,
    /// One JSON object a line: `assembly`, `type`, `method`, `token`, `offset`, `code`, `message`; `method` and `offset` are
    /// null where there is none.
    Json,
    /// One SARIF 2.1.0 document.
    Sarif,
}

#[derive(Serialize)]
struct Line<'a> {
    assembly: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
    method: Option<&'a str>,
    token: u32,
    offset: Option<u32>,
    code: &'a str,
    message: &'a str,
}

/// Writes findings. `file_of` gives the path of an assembly's file by its simple name, for formats that name files.
///
/// # Errors
/// Those of `out`.
pub fn write(
    format: Format,
    findings: &[Finding],
    file_of: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        Format::Text => findings.iter().try_for_each(|finding| writeln!(out, "{finding}")),
        Format::Json => findings.iter().try_for_each(|finding| write_line(finding, out)),
        Format::Sarif => {
            serde_json::to_writer_pretty(&mut *out, &sarif(findings, file_of))?;
            writeln!(out)
        }
    }
}

fn write_line(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    let line = Line {
        assembly: &finding.assembly,
        type_name: &finding.type_name,
        method: finding.method.as_deref(),
        token: finding.token.0,
        offset: finding.offset,
        code: finding.code.name(),
        message: &finding.message,
    };
    serde_json::to_writer(&mut *out, &line)?;
    writeln!(out)
}

fn sarif(findings: &[Finding], file_of: &dyn Fn(&str) -> Option<String>) -> Value {
    let codes: BTreeSet<Code> = findings.iter().map(|f| f.code).collect();
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| {
            json!({
                "id": code.name(),
                "shortDescription": { "text": code.description() },
                "defaultConfiguration": { "level": "error" },
            })
        })
        .collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| result(finding, &codes, file_of))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "corten verify", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

fn result(finding: &Finding, codes: &BTreeSet<Code>, file_of: &dyn Fn(&str) -> Option<String>) -> Value {
    let (name, kind) = match &finding.method {
        Some(method) => (format!("{}::{method}", finding.type_name), "function"),
        None => (finding.type_name.clone(), "type"),
    };
    let mut location = json!({
        "logicalLocations": [{ "fullyQualifiedName": name, "kind": kind }],
    });
    let file = file_of(&finding.assembly).unwrap_or_else(|| format!("{}.dll", finding.assembly));
    location["physicalLocation"] = json!({ "artifactLocation": { "uri": file } });
    json!({
        "ruleId": finding.code.name(),
        "ruleIndex": codes.iter().position(|c| *c == finding.code),
        "level": "error",
        "message": { "text": finding.message },
        "locations": [location],
        "properties": { "assembly": finding.assembly, "token": finding.token.0, "ilOffset": finding.offset },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_metadata::Token;

    fn findings() -> Vec<Finding> {
        let method = Finding {
            assembly: "a".to_owned(),
            type_name: "N.T".to_owned(),
            method: Some("M".to_owned()),
            token: Token(0x0600_0001),
            offset: Some(0x12),
            code: Code::StackUnexpected,
            message: "found int32 expected \"x\"".to_owned(),
        };
        let of_type = Finding {
            method: None,
            offset: None,
            token: Token(0x0200_0002),
            code: Code::InterfaceMethodNotImplemented,
            ..method.clone()
        };
        vec![method, of_type]
    }

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        write(format, &findings(), &|_| None, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_one_line_each() {
        let text = written(Format::Text);
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("[StackUnexpected] a N.T::M +0x0012: found int32 expected \"x\"")
        );
        assert_eq!(
            lines.next(),
            Some("[InterfaceMethodNotImplemented] a N.T: found int32 expected \"x\"")
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = written(Format::Json);
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!((&lines[0]["offset"], &lines[0]["type"]), (&json!(0x12), &json!("N.T")));
        assert_eq!((&lines[1]["offset"], &lines[1]["method"]), (&Value::Null, &Value::Null));
        assert_eq!(lines[0].as_object().unwrap().len(), 7);
    }

    #[test]
    fn sarif_names_its_rules() {
        let value: Value = serde_json::from_str(&written(Format::Sarif)).unwrap();
        let run = &value["runs"][0];
        assert_eq!(run["results"].as_array().unwrap().len(), 2);
        let index = run["results"][0]["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(run["tool"]["driver"]["rules"][index]["id"], "StackUnexpected");
        assert_eq!(
            run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            "a.dll"
        );
    }
}
