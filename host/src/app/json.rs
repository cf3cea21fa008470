//! Reading the host's JSON files: as .NET's host does, a byte order mark and comments are allowed.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{HostError, one_line};

/// Reads and parses `path`.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, HostError> {
    let text = std::fs::read_to_string(path).map_err(|e| HostError::io(path, e))?;
    parse(path, &text)
}

/// Parses `text`; `path` is for the message.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, HostError> {
    let text = blank_comments(text.trim_start_matches('\u{feff}'));
    serde_json::from_str(&text).map_err(|error| HostError::BadConfig {
        path: path.to_owned(),
        reason: format!("not valid: {}; fix or rebuild it", one_line(&error.to_string())),
    })
}

/// Replaces `//` and `/* */` comments outside strings by spaces, so that positions in messages stay right.
fn blank_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            '"' => in_string = !in_string,
            '/' if !in_string && matches!(chars.peek(), Some('/' | '*')) => {
                let block = chars.next() == Some('*');
                out.push_str("  ");
                let mut previous = ' ';
                while let Some(&c) = chars.peek() {
                    if !block && c == '\n' {
                        break;
                    }
                    chars.next();
                    out.push(if c == '\n' { c } else { ' ' });
                    if block && previous == '*' && c == '/' {
                        break;
                    }
                    previous = c;
                }
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_strings_stay() {
        assert_eq!(
            blank_comments("{\"a\": \"//x /* \\\" */\"} // end"),
            "{\"a\": \"//x /* \\\" */\"}       "
        );
        assert_eq!(blank_comments("[1, /* two\nlines */ 2]"), "[1,       \n         2]");
        assert_eq!(blank_comments("/*/ 1 */2"), "        2");
        assert_eq!(blank_comments("/* open"), "       ");
        assert_eq!(blank_comments("1 / 2"), "1 / 2");
    }

    #[test]
    fn errors_name_the_file_and_the_place() {
        let error = parse::<Vec<u32>>(Path::new("x.json"), "\u{feff}[1,\n oops]").expect_err("not JSON");
        let text = error.to_string();
        assert!(
            text.starts_with("x.json: not valid: ") && text.contains("line 2"),
            "{text}"
        );
    }
}
