//! What the host needs to know of an assembly file before the engine sees it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use corten_metadata::{Module, TableId, Token};

use crate::error::{HostError, one_line};

/// Opens `path` as an application: a managed assembly with an entry point.
///
/// # Errors
/// No such file, not a managed assembly, a damaged one, or one without an entry point; each says what the file is instead.
pub fn open_app(path: &Path) -> Result<Module, HostError> {
    let bad = |reason: String| HostError::BadApp {
        path: path.to_owned(),
        reason,
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(bad("is a folder; give the path of a .NET assembly (APP.dll)".to_owned()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(HostError::NoSuchApp(path.to_owned()));
        }
        Err(error) => return Err(HostError::io(path, error)),
    }
    if let Some(what) = foreign_format(path)? {
        let managed = path.with_extension("dll");
        let advice = if managed != path && managed.is_file() {
            format!("did you mean {}?", managed.display())
        } else {
            "give the path of a .NET assembly (APP.dll)".to_owned()
        };
        return Err(bad(format!("is not a .NET assembly but {what}; {advice}")));
    }
    let module = open(path)?;
    match module.pe().entry_point_token() {
        Some(token) if !token.is_nil() && token.table() == Some(TableId::MethodDef) => {
            let in_range = token.rid() <= module.row_count(TableId::MethodDef);
            in_range
                .then_some(())
                .ok_or_else(|| bad(damaged(&format!("its entry point {token:?} does not exist"))))?;
        }
        Some(token) if !token.is_nil() => {
            return Err(bad(format!(
                "its entry point {token:?} lies in another file, which is not supported; build it as one assembly"
            )));
        }
        _ => {
            let reason = "has no entry point: it is a library; run the application that uses it, or compile it with a Main method";
            return Err(bad(reason.to_owned()));
        }
    }
    Ok(module)
}

/// Opens `path` as a managed assembly.
///
/// # Errors
/// The file cannot be read, or is malformed.
pub fn open(path: &Path) -> Result<Module, HostError> {
    Module::open(path).map_err(|error| HostError::BadApp {
        path: path.to_owned(),
        reason: damaged(&one_line(&error.to_string())),
    })
}

/// The entry method's token; [`open_app`] has checked that there is one.
pub fn entry_point(module: &Module) -> Option<Token> {
    module
        .pe()
        .entry_point_token()
        .filter(|token| token.table() == Some(TableId::MethodDef))
}

/// The version in the assembly's manifest.
///
/// # Errors
/// As [`open`]; also a module without a manifest.
pub fn assembly_version(path: &Path) -> Result<(u16, u16, u16, u16), HostError> {
    let fault = |why: &str| HostError::BadApp {
        path: path.to_owned(),
        reason: damaged(why),
    };
    match open(path)?.assembly() {
        Ok(Some(assembly)) => Ok(assembly.version),
        Ok(None) => Err(fault("it has no assembly manifest")),
        Err(error) => Err(fault(&one_line(&error.to_string()))),
    }
}

fn damaged(why: &str) -> String {
    format!("is not a valid .NET assembly: {why}; rebuild it or copy it again")
}

/// What kind of file this is if it is certainly no PE image; `None` if it may be one.
fn foreign_format(path: &Path) -> Result<Option<&'static str>, HostError> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|e| HostError::io(path, e))?;
    file.take(64)
        .read_to_end(&mut start)
        .map_err(|e| HostError::io(path, e))?;
    Ok(match start.as_slice() {
        [] => Some("an empty file"),
        [0x7f, b'E', b'L', b'F', ..] => Some("a native ELF program or library"),
        [b'M', b'Z', ..] => None,
        [b'#', b'!', ..] => Some("a script"),
        bytes if bytes.iter().all(|&b| b >= b' ' || matches!(b, b'\n' | b'\r' | b'\t')) => Some("a text file"),
        _ => Some("a file of another kind"),
    })
}
