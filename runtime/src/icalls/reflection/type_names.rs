//! Assembly-qualified type names (ECMA-335 II.23.3 `SerString` types; the grammar of `Type.GetType`).

use super::support::{assembly_of, table_of};
use crate::error::VmResult;
use corten_loader::{Assembly, AssemblyName, Binder, LoadError, Module, TypeHandle};

/// A parsed type name.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ParsedName {
    /// Namespace-qualified name of the outermost type, then the names of nested ones.
    pub parts: Vec<String>,
    /// Generic arguments.
    pub arguments: Vec<ParsedName>,
    /// `[]`, `[,]`, `*`, `&` in order.
    pub suffixes: Vec<Suffix>,
    /// Display name of the assembly, if given.
    pub assembly: Option<String>,
}

/// What is made of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffix {
    /// `[]`
    SzArray,
    /// `[*]` or `[,,]`: rank.
    Array(u32),
    /// `*`
    Pointer,
    /// `&`
    ByRef,
}

struct Parser<'a> {
    text: std::iter::Peekable<std::str::Chars<'a>>,
    depth: u32,
}

impl Parser<'_> {
    fn eat(&mut self, c: char) -> bool {
        if self.text.peek() == Some(&c) {
            self.text.next();
            return true;
        }
        false
    }

    fn spaces(&mut self) {
        while self.text.peek().is_some_and(|c| c.is_whitespace()) {
            self.text.next();
        }
    }

    fn identifier(&mut self) -> Option<String> {
        let mut name = String::new();
        while let Some(&c) = self.text.peek() {
            match c {
                '+' | '[' | ']' | ',' | '*' | '&' => break,
                '\\' => {
                    self.text.next();
                    name.push(self.text.next()?);
                }
                _ => {
                    self.text.next();
                    name.push(c);
                }
            }
        }
        let name = name.trim().to_owned();
        if name.is_empty() { None } else { Some(name) }
    }

    /// `in_brackets`: the name ends at `]`; an assembly name may follow a comma.
    fn name(&mut self, qualified: bool, in_brackets: bool) -> Option<ParsedName> {
        if self.depth > 64 {
            return None;
        }
        self.depth += 1;
        self.spaces();
        let mut parsed = ParsedName {
            parts: vec![self.identifier()?],
            ..ParsedName::default()
        };
        while self.eat('+') {
            parsed.parts.push(self.identifier()?);
        }
        loop {
            match self.text.peek() {
                Some('*') => {
                    self.text.next();
                    parsed.suffixes.push(Suffix::Pointer);
                }
                Some('&') => {
                    self.text.next();
                    parsed.suffixes.push(Suffix::ByRef);
                }
                Some('[') => {
                    self.text.next();
                    self.brackets(&mut parsed)?;
                }
                _ => break,
            }
        }
        self.spaces();
        if qualified && self.eat(',') {
            let mut assembly = String::new();
            while let Some(&c) = self.text.peek() {
                if in_brackets && c == ']' {
                    break;
                }
                self.text.next();
                assembly.push(c);
            }
            parsed.assembly = Some(assembly.trim().to_owned());
        }
        self.depth -= 1;
        Some(parsed)
    }

    /// After `[`: array shape or generic arguments.
    fn brackets(&mut self, parsed: &mut ParsedName) -> Option<()> {
        self.spaces();
        match self.text.peek()? {
            ']' => {
                self.text.next();
                parsed.suffixes.push(Suffix::SzArray);
            }
            '*' => {
                self.text.next();
                if !self.eat(']') {
                    return None;
                }
                parsed.suffixes.push(Suffix::Array(1));
            }
            ',' => {
                let mut rank = 1;
                while self.eat(',') {
                    rank += 1;
                }
                if !self.eat(']') || rank > 32 {
                    return None;
                }
                parsed.suffixes.push(Suffix::Array(rank));
            }
            _ => {
                if !parsed.arguments.is_empty() || !parsed.suffixes.is_empty() {
                    return None;
                }
                loop {
                    self.spaces();
                    let argument = if self.eat('[') {
                        let inner = self.name(true, true)?;
                        if !self.eat(']') {
                            return None;
                        }
                        inner
                    } else {
                        self.name(false, true)?
                    };
                    parsed.arguments.push(argument);
                    self.spaces();
                    if self.eat(']') {
                        break;
                    }
                    if !self.eat(',') {
                        return None;
                    }
                }
            }
        }
        Some(())
    }
}

/// Parses a type name; `None` if malformed.
pub fn parse(text: &str) -> Option<ParsedName> {
    let mut parser = Parser {
        text: text.chars().peekable(),
        depth: 0,
    };
    let name = parser.name(true, false)?;
    parser.text.next().is_none().then_some(name)
}

/// `Namespace.Name` split at the last dot.
pub fn split_namespace(full: &str) -> (&str, &str) {
    full.rsplit_once('.').unwrap_or(("", full))
}

/// Finds a (possibly nested) type definition in `assembly`, following forwarders.
///
/// # Errors
/// When a forwarder's target cannot be loaded, or the type's own load fails.
pub fn find_in_assembly(assembly: &'static Assembly, parts: &[String]) -> VmResult<Option<TypeHandle>> {
    let Some((outer, nested)) = parts.split_first() else {
        return Ok(None);
    };
    let (namespace, name) = split_namespace(outer);
    let Some(mut definition) = assembly.find_type_def(namespace, name)? else {
        return Ok(None);
    };
    for part in nested {
        match definition.module().find_nested(definition.rid(), part)? {
            Some(d) => definition = d,
            None => return Ok(None),
        }
    }
    Ok(Some(definition.module().typical_type(definition.rid())?.handle()))
}

/// Resolves a type name as seen from `module`: in the named assembly, else in the module's own assembly, else in CoreLib.
/// `None` if there is no such type or the name is malformed.
///
/// # Errors
/// Load errors other than a missing assembly.
pub fn resolve(text: &str, module: &'static Module) -> VmResult<Option<TypeHandle>> {
    match parse(text) {
        Some(name) => resolve_parsed(&name, module),
        None => Ok(None),
    }
}

fn resolve_parsed(name: &ParsedName, module: &'static Module) -> VmResult<Option<TypeHandle>> {
    let here = assembly_of(module)?;
    let found = match &name.assembly {
        Some(display) => {
            let Some(binder) = Binder::get() else { return Ok(None) };
            match binder.load_by_name(&AssemblyName::parse(display), here.context(), Some(here)) {
                Ok(assembly) => find_in_assembly(assembly, &name.parts)?,
                Err(LoadError::FileNotFound { .. }) => None,
                Err(e) => return Err(e.into()),
            }
        }
        None => match find_in_assembly(here, &name.parts)? {
            Some(t) => Some(t),
            None => match Binder::get().and_then(|b| b.core_library()) {
                Some(core) => find_in_assembly(core, &name.parts)?,
                None => None,
            },
        },
    };
    let Some(mut t) = found else {
        return Ok(None);
    };
    if !name.arguments.is_empty() {
        let mut arguments = Vec::with_capacity(name.arguments.len());
        for argument in &name.arguments {
            match resolve_parsed(argument, module)? {
                Some(a) => arguments.push(a),
                None => return Ok(None),
            }
        }
        t = corten_loader::instantiate(table_of(t)?, &arguments)?;
    }
    for suffix in &name.suffixes {
        t = match suffix {
            Suffix::SzArray => corten_loader::make_array(t, 1, true)?,
            Suffix::Array(rank) => corten_loader::make_array(t, *rank, false)?,
            Suffix::Pointer => corten_loader::make_pointer(t),
            Suffix::ByRef => corten_loader::make_byref(t),
        };
    }
    Ok(Some(t))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed() {
        let n = parse("A.B+C[[D.E, Asm, Version=1.0.0.0],F][,]*&, Other, Culture=neutral").unwrap();
        assert_eq!(n.parts, ["A.B", "C"]);
        assert_eq!(n.assembly.as_deref(), Some("Other, Culture=neutral"));
        assert_eq!(n.suffixes, [Suffix::Array(2), Suffix::Pointer, Suffix::ByRef]);
        assert_eq!(n.arguments.len(), 2);
        assert_eq!(n.arguments[0].parts, ["D.E"]);
        assert_eq!(n.arguments[0].assembly.as_deref(), Some("Asm, Version=1.0.0.0"));
        assert_eq!(n.arguments[1].parts, ["F"]);
        assert_eq!(parse("X[]").unwrap().suffixes, [Suffix::SzArray]);
        assert_eq!(parse(r"A\+B").unwrap().parts, ["A+B"]);
        assert!(parse("X[").is_none());
        assert!(parse("").is_none());
    }

    #[test]
    fn the_namespace_ends_at_the_last_dot() {
        assert_eq!(
            split_namespace("System.Collections.Generic.List`1"),
            ("System.Collections.Generic", "List`1")
        );
        assert_eq!(split_namespace("Program"), ("", "Program"));
    }
}
