//! Reads everything in an image and checks that it hangs together.
//!
//! [`visit_everything`] is what `corten inspect`, the fuzz targets and the tests of malformed images call. It ends with
//! a summary or with the first fault; it never panics, and its time and memory are bounded by a small multiple of the
//! file size: shared signatures and bodies are visited once, overlapping ones count against a budget.

use crate::attribute::{AttributeError, AttributeErrorKind, EnumRef, Primitive};
use crate::body::{EhKind, MethodBody};
use crate::error::{Error, Fault, Result};
use crate::flags::FieldAttributes;
use crate::il::{Decoder, Instruction, Operand, OperandKind};
use crate::module::Module;
use crate::sig::{self, SigError, TypeSig};
use crate::token::{TableId, Token};
use std::collections::HashSet;

/// What [`visit_everything`] saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows of all tables.
    pub rows: u64,
    /// Types defined.
    pub types: u32,
    /// Fields defined.
    pub fields: u32,
    /// Methods defined.
    pub methods: u32,
    /// Method bodies; shared ones count once.
    pub bodies: u32,
    /// Bytes of IL.
    pub il_bytes: u64,
    /// Instructions.
    pub instructions: u64,
    /// Exception clauses.
    pub clauses: u64,
    /// Signatures parsed; shared ones count once.
    pub signatures: u64,
    /// Custom attributes decoded.
    pub attributes: u64,
    /// Custom attributes with an enum whose width was not known.
    pub unresolved_attributes: u64,
    /// User strings.
    pub user_strings: u64,
    /// Resources stored in the image.
    pub resources: u32,
    /// Sequence points of an embedded PDB.
    pub sequence_points: u64,
}

/// Visits everything; enums are resolved in the module only.
///
/// # Errors
/// The first fault found, in no particular order.
pub fn visit_everything(module: &Module) -> Result<Summary> {
    visit_with(module, &mut |which| module.resolve_local_enum(which))
}

/// As [`visit_everything`], with a resolver for the enums of custom attributes.
pub fn visit_with(module: &Module, enums: &mut dyn FnMut(EnumRef<'_>) -> Option<Primitive>) -> Result<Summary> {
    let mut visitor = Visitor {
        module,
        summary: Summary::default(),
        seen: HashSet::new(),
        budget: 8 * module.image_bytes().len() as u64 + (1 << 16),
    };
    visitor.tables()?;
    visitor.nesting()?;
    visitor.members()?;
    visitor.type_specs()?;
    visitor.stand_alone_signatures()?;
    visitor.user_strings()?;
    visitor.bodies()?;
    visitor.attributes(enums)?;
    visitor.data()?;
    visitor.pdb()?;
    Ok(visitor.summary)
}

/// What a blob was parsed as, so that shared blobs are parsed once per use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    Method,
    Field,
    Property,
    TypeSpec,
    MethodSpec,
    Locals,
    Body,
}

struct Visitor<'a> {
    module: &'a Module,
    summary: Summary,
    seen: HashSet<(usize, Shape)>,
    /// Bytes of signatures, IL and attribute values that may still be read.
    budget: u64,
}

impl<'a> Visitor<'a> {
    fn spend(&mut self, bytes: usize, at: &[u8]) -> Result<()> {
        match self.budget.checked_sub(bytes as u64) {
            Some(rest) => {
                self.budget = rest;
                Ok(())
            }
            None => Err(Error::bad(
                Fault::Value {
                    field: "bytes shared by overlapping items",
                    value: bytes as u64,
                },
                self.module.offset_of(at),
            )),
        }
    }

    /// Every row of every table, and the order of tables that must be sorted.
    fn tables(&mut self) -> Result<()> {
        let m = self.module;
        macro_rules! rows {
            ($($table:ident: $accessor:ident),* $(,)?) => {
                $(for rid in 1..=m.row_count(TableId::$table) { m.$accessor(rid)?; })*
            };
        }
        m.module_row()?;
        m.assembly()?;
        rows! {
            TypeRef: type_ref, TypeDef: type_def, Field: field, MethodDef: method_def, Param: param,
            InterfaceImpl: interface_impl, MemberRef: member_ref, Constant: constant,
            CustomAttribute: custom_attribute, FieldMarshal: field_marshal, DeclSecurity: decl_security,
            ClassLayout: class_layout, FieldLayout: field_layout, StandAloneSig: stand_alone_sig,
            EventMap: event_map, Event: event, PropertyMap: property_map, Property: property,
            MethodSemantics: method_semantics, MethodImpl: method_impl, ModuleRef: module_ref,
            TypeSpec: type_spec, ImplMap: impl_map, FieldRva: field_rva, AssemblyRef: assembly_ref, File: file,
            ExportedType: exported_type, ManifestResource: manifest_resource, NestedClass: nested_class,
            GenericParam: generic_param, MethodSpec: method_spec,
            GenericParamConstraint: generic_param_constraint,
        }
        for table in TableId::ALL {
            self.summary.rows += u64::from(m.row_count(*table));
            m.check_sorted(*table)?;
        }
        self.summary.types = m.row_count(TableId::TypeDef);
        self.summary.fields = m.row_count(TableId::Field);
        self.summary.methods = m.row_count(TableId::MethodDef);
        if let Some(token) = m.pe().entry_point_token() {
            let ok = (token.is(TableId::MethodDef) || token.is(TableId::File)) && m.has_row(token);
            self.check(ok, token, "entry point", m.pe().cli_header_offset() + 20)?;
        }
        Ok(())
    }

    fn check(&self, ok: bool, token: Token, used_as: &'static str, offset: usize) -> Result<()> {
        if ok {
            Ok(())
        } else {
            Err(Error::bad(Fault::Token { token, used_as }, offset))
        }
    }

    /// Enclosing types, scopes of nested references, exported nested types: none may contain itself.
    fn nesting(&self) -> Result<()> {
        let m = self.module;
        let parent = |rid| m.enclosing_type(rid);
        self.check_acyclic(TableId::TypeDef, parent)?;
        let scope = |rid| {
            m.type_ref(rid)
                .ok()
                .map(|r| r.resolution_scope)
                .filter(|t| t.is(TableId::TypeRef))
        };
        self.check_acyclic(TableId::TypeRef, |rid| scope(rid).map(Token::rid))?;
        let outer = |rid| {
            m.exported_type(rid)
                .ok()
                .map(|r| r.implementation)
                .filter(|t| t.is(TableId::ExportedType))
        };
        self.check_acyclic(TableId::ExportedType, |rid| outer(rid).map(Token::rid))
    }

    fn check_acyclic(&self, table: TableId, parent: impl Fn(u32) -> Option<u32>) -> Result<()> {
        let rows = self.module.row_count(table);
        // 0: not visited; else the number of the walk that came here first.
        let mut walk_of = vec![0u32; rows as usize + 1];
        for start in 1..=rows {
            let mut next = Some(start);
            while let Some(rid) = next.filter(|r| (1..=rows).contains(r)) {
                match walk_of[rid as usize] {
                    0 => walk_of[rid as usize] = start,
                    walk if walk == start => {
                        return Err(Error::bad(
                            Fault::Cycle { table, rid },
                            self.module.row_offset(table, rid),
                        ));
                    }
                    _ => break,
                }
                next = parent(rid);
            }
        }
        Ok(())
    }

    /// Marks a blob as seen; false if it was seen in this shape before.
    fn first_time(&mut self, blob: &'a [u8], shape: Shape) -> Result<bool> {
        if !self.seen.insert((self.module.offset_of(blob), shape)) {
            return Ok(false);
        }
        self.spend(blob.len(), blob)?;
        self.summary.signatures += u64::from(shape != Shape::Body);
        Ok(true)
    }

    fn signature<T>(
        &mut self,
        blob: &'a [u8],
        shape: Shape,
        parse: fn(&[u8]) -> std::result::Result<T, SigError>,
        tokens: impl Fn(&T, &mut dyn FnMut(Token)),
    ) -> Result<()> {
        if !self.first_time(blob, shape)? {
            return Ok(());
        }
        let parsed = parse(blob).map_err(|e| self.module.signature_error(blob, e))?;
        let mut bad = None;
        tokens(&parsed, &mut |t| {
            if !self.module.has_row(t) {
                bad.get_or_insert(t);
            }
        });
        self.check(
            bad.is_none(),
            bad.unwrap_or_default(),
            "type in a signature",
            self.module.offset_of(blob),
        )
    }

    fn method_signature(&mut self, blob: &'a [u8]) -> Result<()> {
        self.signature(blob, Shape::Method, sig::parse_method, |m, f| m.for_each_token(f))
    }

    fn field_signature(&mut self, blob: &'a [u8]) -> Result<()> {
        self.signature(blob, Shape::Field, sig::parse_field, |t, f| t.for_each_token(f))
    }

    /// Signatures of fields, methods, properties, references and instantiations.
    fn members(&mut self) -> Result<()> {
        let m = self.module;
        for rid in 1..=m.row_count(TableId::Field) {
            self.field_signature(m.field(rid)?.signature)?;
        }
        for rid in 1..=m.row_count(TableId::MethodDef) {
            self.method_signature(m.method_def(rid)?.signature)?;
        }
        for rid in 1..=m.row_count(TableId::Property) {
            let blob = m.property(rid)?.signature;
            self.signature(blob, Shape::Property, sig::parse_property, |p, f| {
                p.ty.for_each_token(f);
                p.params.iter().for_each(|t| t.for_each_token(f));
            })?;
        }
        for rid in 1..=m.row_count(TableId::MemberRef) {
            let blob = m.member_ref(rid)?.signature;
            if sig::is_field(blob) {
                self.field_signature(blob)?
            } else {
                self.method_signature(blob)?
            }
        }
        for rid in 1..=m.row_count(TableId::MethodSpec) {
            let blob = m.method_spec(rid)?.instantiation;
            let tokens = |args: &Vec<TypeSig>, f: &mut dyn FnMut(Token)| args.iter().for_each(|t| t.for_each_token(f));
            self.signature(blob, Shape::MethodSpec, sig::parse_method_spec, tokens)?;
        }
        Ok(())
    }

    /// Type specifications; none may contain itself.
    fn type_specs(&mut self) -> Result<()> {
        let m = self.module;
        let rows = m.row_count(TableId::TypeSpec);
        let mut inner: Vec<Vec<u32>> = vec![Vec::new(); rows as usize + 1];
        for rid in 1..=rows {
            let blob = m.type_spec(rid)?.signature;
            self.signature(blob, Shape::TypeSpec, sig::parse_type_spec, |t, f| t.for_each_token(f))?;
            // A type specification that refers to others is rare: only those are parsed again.
            let Ok(ty) = sig::parse_type_spec(blob) else { continue };
            ty.for_each_token(&mut |t| {
                if t.is(TableId::TypeSpec) && m.has_row(t) {
                    inner[rid as usize].push(t.rid());
                }
            });
        }
        // Remove specifications all of whose inner ones are removed; what is left lies on or before a cycle.
        let mut users: Vec<Vec<u32>> = vec![Vec::new(); rows as usize + 1];
        let mut open: Vec<usize> = vec![0; rows as usize + 1];
        for rid in 1..=rows {
            open[rid as usize] = inner[rid as usize].len();
            for i in &inner[rid as usize] {
                users[*i as usize].push(rid);
            }
        }
        let mut ready: Vec<u32> = (1..=rows).filter(|r| open[*r as usize] == 0).collect();
        let mut closed = 0;
        while let Some(rid) = ready.pop() {
            closed += 1;
            for user in &users[rid as usize] {
                open[*user as usize] -= 1;
                if open[*user as usize] == 0 {
                    ready.push(*user);
                }
            }
        }
        match (1..=rows).find(|r| open[*r as usize] != 0) {
            Some(rid) if closed != rows => {
                let at = m.offset_of(m.type_spec(rid)?.signature);
                Err(Error::bad(
                    Fault::Cycle {
                        table: TableId::TypeSpec,
                        rid,
                    },
                    at,
                ))
            }
            _ => Ok(()),
        }
    }

    fn stand_alone_signatures(&mut self) -> Result<()> {
        let m = self.module;
        for rid in 1..=m.row_count(TableId::StandAloneSig) {
            let blob = m.stand_alone_sig(rid)?.signature;
            if sig::is_locals(blob) {
                let tokens =
                    |types: &Vec<TypeSig>, f: &mut dyn FnMut(Token)| types.iter().for_each(|t| t.for_each_token(f));
                self.signature(blob, Shape::Locals, sig::parse_locals, tokens)?;
            } else if sig::is_field(blob) {
                self.field_signature(blob)?; // compilers describe constants in this way for debuggers
            } else {
                self.method_signature(blob)?;
            }
        }
        Ok(())
    }

    fn user_strings(&mut self) -> Result<()> {
        self.summary.user_strings = self.module.user_strings().count() as u64;
        Ok(())
    }

    fn bodies(&mut self) -> Result<()> {
        let m = self.module;
        let mut starts = Vec::new();
        for rid in 1..=m.row_count(TableId::MethodDef) {
            let body = match m.method_body(rid) {
                Ok(Some(body)) => body,
                Ok(None) | Err(Error::Unsupported { .. }) => continue,
                Err(e) => return Err(e),
            };
            if self.first_time(body.code, Shape::Body)? {
                self.body(Token::new(TableId::MethodDef, rid), &body, &mut starts)?;
            }
        }
        Ok(())
    }

    fn body(&mut self, method: Token, body: &MethodBody<'a>, starts: &mut Vec<bool>) -> Result<()> {
        let m = self.module;
        let base = m.offset_of(body.code);
        let bad = |what, offset: u32| Error::bad(Fault::Body { method, what }, base + offset as usize);
        self.summary.bodies += 1;
        self.summary.il_bytes += body.code.len() as u64;
        self.summary.clauses += body.clauses.len() as u64;
        if let Some(token) = body.local_var_sig {
            let blob = m.stand_alone_sig(token.rid())?.signature;
            self.check(sig::is_locals(blob), token, "signature of locals", base)?;
        }
        starts.clear();
        starts.resize(body.code.len() + 1, false);
        starts[body.code.len()] = true; // ends of ranges may lie here; the decoder rejects targets here
        for instruction in Decoder::new(body.code) {
            let i = instruction.map_err(|e| m.il_error(body.code, e))?;
            self.summary.instructions += 1;
            starts[i.offset as usize] = true;
            self.operand(&i, base)?;
        }
        let is_start = |offset: u32| starts.get(offset as usize).copied().unwrap_or(false);
        for i in Decoder::new(body.code).flatten() {
            let ok = match &i.operand {
                Operand::Branch(target) => is_start(*target),
                Operand::Switch(targets) => targets.iter().all(|t| is_start(*t)),
                _ => true,
            };
            if !ok {
                return Err(bad("branch into an instruction", i.offset));
            }
        }
        for c in &body.clauses {
            let mut edges = vec![c.try_offset, c.handler_offset];
            edges.extend([c.try_offset + c.try_length, c.handler_offset + c.handler_length]);
            match c.kind {
                EhKind::Catch(token) => self.check(self.is_type(token), token, "type of a catch clause", base)?,
                EhKind::Filter { filter_offset } => edges.push(filter_offset),
                EhKind::Finally | EhKind::Fault => {}
            }
            if !edges.iter().all(|e| is_start(*e)) {
                return Err(bad(
                    "exception clause begins or ends inside an instruction",
                    c.try_offset,
                ));
            }
        }
        Ok(())
    }

    fn is_type(&self, token: Token) -> bool {
        matches!(
            token.table(),
            Some(TableId::TypeDef | TableId::TypeRef | TableId::TypeSpec)
        ) && self.module.has_row(token)
    }

    fn member_ref_is(&self, token: Token, want_field: bool) -> bool {
        token.is(TableId::MemberRef)
            && self
                .module
                .member_ref(token.rid())
                .is_ok_and(|r| sig::is_field(r.signature) == want_field)
    }

    fn is_method(&self, token: Token) -> bool {
        matches!(token.table(), Some(TableId::MethodDef | TableId::MethodSpec)) && self.module.has_row(token)
            || self.member_ref_is(token, false)
    }

    fn is_field(&self, token: Token) -> bool {
        token.is(TableId::Field) && self.module.has_row(token) || self.member_ref_is(token, true)
    }

    /// Checks that an operand token names an existing row of a table allowed for its instruction.
    fn operand(&self, i: &Instruction, base: usize) -> Result<()> {
        let at = base + i.offset as usize;
        match (&i.operand, i.opcode.operand_kind()) {
            (Operand::String(t), _) => {
                self.check(t.is_user_string(), *t, "user string", at)?;
                self.module.user_string(*t)?;
            }
            (Operand::Token(t), OperandKind::Method) => self.check(self.is_method(*t), *t, "method", at)?,
            (Operand::Token(t), OperandKind::Field) => self.check(self.is_field(*t), *t, "field", at)?,
            (Operand::Token(t), OperandKind::Type) => self.check(self.is_type(*t), *t, "type", at)?,
            (Operand::Token(t), OperandKind::Sig) => {
                let signature = t
                    .is(TableId::StandAloneSig)
                    .then(|| self.module.stand_alone_sig(t.rid()).ok());
                let ok = signature.flatten().is_some_and(|s| sig::is_method(s.signature));
                self.check(ok, *t, "call-site signature", at)?;
            }
            (Operand::Token(t), _) => {
                let ok = self.is_type(*t) || self.is_method(*t) || self.is_field(*t);
                self.check(ok, *t, "type, method or field", at)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn attributes(&mut self, enums: &mut dyn FnMut(EnumRef<'_>) -> Option<Primitive>) -> Result<()> {
        let m = self.module;
        let mut seen = HashSet::new();
        for rid in 1..=m.row_count(TableId::CustomAttribute) {
            let row = m.custom_attribute(rid)?;
            m.attribute_type_name(rid)?;
            if !seen.insert((row.ctor, m.offset_of(row.value))) {
                continue;
            }
            self.spend(row.value.len(), row.value)?;
            match m.custom_attribute_value(rid, enums) {
                Ok(_) => self.summary.attributes += 1,
                Err(Error::Attribute {
                    source:
                        AttributeError {
                            kind: AttributeErrorKind::UnknownEnum(_),
                            ..
                        },
                    ..
                }) => {
                    self.summary.unresolved_attributes += 1;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Constants, initial data of fields, resources.
    fn data(&mut self) -> Result<()> {
        let m = self.module;
        for rid in 1..=m.row_count(TableId::Constant) {
            let c = m.constant(rid)?;
            let wanted = match c.ty {
                0x0e => c.value.len() & !1, // string: whole UTF-16 units
                0x12 => 4,                  // null
                code => Primitive::from_code(code).map_or(usize::MAX, Primitive::size),
            };
            // The reference reader takes values that are too long, not those that are too short.
            if c.value.len() < wanted || c.ty == 0x0e && c.value.len() != wanted {
                let fault = Fault::Value {
                    field: "constant type or size",
                    value: u64::from(c.ty),
                };
                return Err(Error::bad(fault, m.offset_of(c.value)));
            }
        }
        for rid in 1..=m.row_count(TableId::FieldRva) {
            let row = m.field_rva(rid)?;
            let size = self.field_size(row.field);
            let ok = row.rva == 0 || m.pe().rva_range(row.rva, size.unwrap_or(0)).is_some();
            if !ok {
                return Err(Error::bad(
                    Fault::Rva {
                        what: "initial data of a field",
                        rva: row.rva,
                    },
                    0,
                ));
            }
        }
        for rid in 1..=m.row_count(TableId::ManifestResource) {
            self.summary.resources += u32::from(m.manifest_resource_data(rid)?.is_some());
        }
        Ok(())
    }

    /// Size of a static field's data as far as this module alone tells.
    fn field_size(&self, field: u32) -> Option<u32> {
        let m = self.module;
        let row = m.field(field).ok()?;
        if !row.flags.contains(FieldAttributes::HAS_FIELD_RVA) {
            return None;
        }
        let ty = sig::parse_field(row.signature).ok()?;
        match ty.strip_modifiers() {
            TypeSig::ValueType(t) if t.is(TableId::TypeDef) => Some(m.class_layout_of(t.rid())?.class_size),
            other => Primitive::of(other).map(|p| p.size() as u32),
        }
    }

    /// Every sequence point of an embedded PDB, and the names of its documents.
    fn pdb(&mut self) -> Result<()> {
        let Some(pdb) = self.module.embedded_pdb()? else {
            return Ok(());
        };
        for rid in 1..=pdb.row_count(TableId::Document) {
            pdb.document_name(rid)?;
        }
        for rid in 1..=pdb.row_count(TableId::MethodDebugInformation) {
            self.summary.sequence_points += pdb.sequence_points(rid)?.len() as u64;
        }
        Ok(())
    }
}
