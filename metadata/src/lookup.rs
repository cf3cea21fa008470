//! Lookups across tables: what belongs to a row, and names to rows.
//!
//! Tables that ECMA-335 II.22 requires to be sorted are searched by bisection if the image marks them as sorted, else
//! by a scan for the first run of matching rows. Lookups return nothing for what is malformed; the row accessors and
//! [`crate::visit::visit_everything`] report it.

use crate::error::{Error, Fault, Result};
use crate::module::Module;
use crate::rows::{ClassLayoutRow, ConstantRow, ImplMapRow};
use crate::tables::schema::{self, CodedIndex, Column};
use crate::token::{TableId, Token};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::OnceLock;

/// Indexes built on first use and kept.
#[derive(Default)]
pub(crate) struct LazyIndexes {
    type_names: OnceLock<NameIndex>,
    exported_names: OnceLock<NameIndex>,
    nested: OnceLock<FxHashMap<u32, Vec<u32>>>,
    property_maps: OnceLock<FxHashMap<u32, u32>>,
    event_maps: OnceLock<FxHashMap<u32, u32>>,
}

/// Hash chains over the names of a table's rows. Names are not stored: candidates are compared with the image.
struct NameIndex {
    /// First row of each chain, 0 for none; the length is a power of two.
    heads: Vec<u32>,
    /// Next row of the chain, by row - 1.
    next: Vec<u32>,
}

impl NameIndex {
    fn build<'a>(rows: u32, name_of: impl Fn(u32) -> Option<(&'a str, &'a str)>) -> NameIndex {
        let slots = (rows as usize * 2).next_power_of_two();
        let mut index = NameIndex {
            heads: vec![0; slots],
            next: vec![0; rows as usize],
        };
        // Backwards, so that of two rows with one name the first is found.
        for rid in (1..=rows).rev() {
            if let Some((namespace, name)) = name_of(rid) {
                let slot = hash(namespace, name) as usize & (slots - 1);
                index.next[rid as usize - 1] = index.heads[slot];
                index.heads[slot] = rid;
            }
        }
        index
    }

    fn find<'a>(
        &self,
        namespace: &str,
        name: &str,
        name_of: impl Fn(u32) -> Option<(&'a str, &'a str)>,
    ) -> Option<u32> {
        let mut rid = self.heads[hash(namespace, name) as usize & (self.heads.len() - 1)];
        while rid != 0 {
            if name_of(rid) == Some((namespace, name)) {
                return Some(rid);
            }
            rid = self.next[rid as usize - 1];
        }
        None
    }
}

/// FNV-1a with a final mix.
fn hash(namespace: &str, name: &str) -> u32 {
    let bytes = namespace.bytes().chain(std::iter::once(0xff)).chain(name.bytes());
    let h = bytes.fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    (h ^ h >> 32) as u32
}

impl Module {
    /// Rows of a sorted table whose key column equals `key`.
    fn rows_with_key(&self, table: TableId, key: u32) -> Range<u32> {
        let rows = self.row_count(table);
        let Some(column) = schema::sort_column(table) else {
            return 1..1;
        };
        let cells = self.metadata.tables.column(self.image_bytes(), table, column);
        let cell = |rid: u32| cells.get(rid);
        if self.metadata.tables.sorted >> (table as u8) & 1 == 0 {
            let Some(start) = (1..=rows).find(|r| cell(*r) == key) else {
                return 1..1;
            };
            let end = (start + 1..=rows).find(|r| cell(*r) != key).unwrap_or(rows + 1);
            return start..end;
        }
        let start = partition(1..rows + 1, |r| cell(r) < key);
        // Few rows have the same key: the end is near.
        let mut step = 1;
        while start + step <= rows && cell(start + step) <= key {
            step *= 2;
        }
        let last = rows.saturating_add(1).min(start.saturating_add(step));
        start..partition(start + step / 2..last, |r| cell(r) <= key)
    }

    fn rows_with_token(&self, table: TableId, kind: CodedIndex, token: Token) -> Range<u32> {
        match kind.encode(token) {
            Some(key) if !token.is_nil() => self.rows_with_key(table, key),
            _ => 1..1,
        }
    }

    fn first_with_key(&self, table: TableId, key: u32) -> Option<u32> {
        self.rows_with_key(table, key).next()
    }

    /// First row of a required-sorted table that is smaller than its predecessor, as an error.
    pub(crate) fn check_sorted(&self, table: TableId) -> Result<()> {
        let Some(column) = schema::sort_column(table) else {
            return Ok(());
        };
        let file = self.image_bytes();
        let mut last = 0;
        for rid in 1..=self.row_count(table) {
            let Some(row) = self.metadata.tables.row(file, table, rid) else {
                break;
            };
            let value = row.cell(column);
            if value < last {
                return Err(Error::bad(Fault::Unsorted { table, rid }, row.offset(column)));
            }
            last = value;
        }
        Ok(())
    }

    /// The type that encloses a nested type (TypeDef rows).
    pub fn enclosing_type(&self, typedef_rid: u32) -> Option<u32> {
        let rid = self.first_with_key(TableId::NestedClass, typedef_rid)?;
        self.nested_class(rid).ok().map(|r| r.enclosing)
    }

    /// The types nested directly in a type, in table order.
    pub fn nested_types(&self, typedef_rid: u32) -> Vec<u32> {
        let index = self.indexes.nested.get_or_init(|| {
            let mut map: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
            for rid in 1..=self.row_count(TableId::NestedClass) {
                if let Ok(row) = self.nested_class(rid) {
                    map.entry(row.enclosing).or_default().push(row.nested);
                }
            }
            map
        });
        index.get(&typedef_rid).cloned().unwrap_or_default()
    }

    /// InterfaceImpl rows of a type.
    pub fn interface_impls(&self, typedef_rid: u32) -> Range<u32> {
        self.rows_with_key(TableId::InterfaceImpl, typedef_rid)
    }

    /// MethodImpl rows of a type.
    pub fn method_impls(&self, typedef_rid: u32) -> Range<u32> {
        self.rows_with_key(TableId::MethodImpl, typedef_rid)
    }

    /// Packing and size of a type.
    pub fn class_layout_of(&self, typedef_rid: u32) -> Option<ClassLayoutRow> {
        self.class_layout(self.first_with_key(TableId::ClassLayout, typedef_rid)?)
            .ok()
    }

    /// Explicit offset of a field, bytes.
    pub fn field_offset(&self, field_rid: u32) -> Option<u32> {
        self.field_layout(self.first_with_key(TableId::FieldLayout, field_rid)?)
            .ok()
            .map(|r| r.offset)
    }

    /// RVA of a field's initial data.
    pub fn field_rva_of(&self, field_rid: u32) -> Option<u32> {
        self.field_rva(self.first_with_key(TableId::FieldRva, field_rid)?)
            .ok()
            .map(|r| r.rva)
    }

    /// GenericParam rows of a TypeDef or MethodDef, in order of their number.
    pub fn generic_params(&self, owner: Token) -> Range<u32> {
        self.rows_with_token(TableId::GenericParam, CodedIndex::TypeOrMethodDef, owner)
    }

    /// GenericParamConstraint rows of a generic parameter.
    pub fn generic_param_constraints(&self, gp_rid: u32) -> Range<u32> {
        self.rows_with_key(TableId::GenericParamConstraint, gp_rid)
    }

    /// CustomAttribute rows of an item.
    pub fn custom_attributes(&self, parent: Token) -> Range<u32> {
        self.rows_with_token(TableId::CustomAttribute, CodedIndex::HasCustomAttribute, parent)
    }

    /// DeclSecurity rows of an item.
    pub fn decl_securities(&self, parent: Token) -> Range<u32> {
        self.rows_with_token(TableId::DeclSecurity, CodedIndex::HasDeclSecurity, parent)
    }

    /// P/Invoke target of a method.
    pub fn impl_map_of(&self, method_rid: u32) -> Option<ImplMapRow<'_>> {
        let token = Token::new(TableId::MethodDef, method_rid);
        let rid = self
            .rows_with_token(TableId::ImplMap, CodedIndex::MemberForwarded, token)
            .next()?;
        self.impl_map(rid).ok()
    }

    /// Constant of a Field, Param or Property.
    pub fn constant_of(&self, parent: Token) -> Option<ConstantRow<'_>> {
        let rid = self
            .rows_with_token(TableId::Constant, CodedIndex::HasConstant, parent)
            .next()?;
        self.constant(rid).ok()
    }

    /// Marshalling descriptor of a Field or Param.
    pub fn field_marshal_of(&self, parent: Token) -> Option<&[u8]> {
        let rid = self
            .rows_with_token(TableId::FieldMarshal, CodedIndex::HasFieldMarshal, parent)
            .next()?;
        self.field_marshal(rid).ok().map(|r| r.native_type)
    }

    /// TypeDef row of the type that declares a method.
    pub fn owner_of_method(&self, method_rid: u32) -> Option<u32> {
        self.list_owner(TableId::TypeDef, 5, method_rid)
    }

    /// TypeDef row of the type that declares a field.
    pub fn owner_of_field(&self, field_rid: u32) -> Option<u32> {
        self.list_owner(TableId::TypeDef, 4, field_rid)
    }

    /// MethodDef row of the method that declares a parameter.
    pub fn owner_of_param(&self, param_rid: u32) -> Option<u32> {
        self.list_owner(TableId::MethodDef, 5, param_rid)
    }

    /// TypeDef row of the type that declares a property.
    pub fn owner_of_property(&self, property_rid: u32) -> Option<u32> {
        let map = self.list_owner(TableId::PropertyMap, 1, property_rid)?;
        self.property_map(map).ok().map(|r| r.parent)
    }

    /// TypeDef row of the type that declares an event.
    pub fn owner_of_event(&self, event_rid: u32) -> Option<u32> {
        let map = self.list_owner(TableId::EventMap, 1, event_rid)?;
        self.event_map(map).ok().map(|r| r.parent)
    }

    /// Rows of `target` at the positions of one of its lists. Positions are row numbers, except in images with
    /// indirection tables (ECMA-335 II.22.16 and after leave these out of conforming files).
    pub fn list_rows(&self, target: TableId, positions: Range<u32>) -> impl Iterator<Item = u32> + '_ {
        let pointers = pointer_table(target).filter(|p| self.row_count(*p) != 0);
        positions.map(move |at| match pointers {
            Some(table) => self.pointer(table, at).unwrap_or(at),
            None => at,
        })
    }

    fn pointer(&self, table: TableId, at: u32) -> Option<u32> {
        self.metadata
            .tables
            .row(self.image_bytes(), table, at)
            .map(|r| r.cell(0))
    }

    fn list_position(&self, target: TableId, item: u32) -> Option<u32> {
        let pointers = pointer_table(target).filter(|p| self.row_count(*p) != 0);
        match pointers {
            Some(table) => (1..=self.row_count(table)).find(|at| self.pointer(table, *at) == Some(item)),
            None => Some(item),
        }
    }

    /// The row of `table` whose list `column` contains `item`.
    fn list_owner(&self, table: TableId, column: usize, item: u32) -> Option<u32> {
        let Column::List(target) = schema::columns(table)[column].1 else {
            return None;
        };
        if item == 0 || item > self.row_count(target) {
            return None;
        }
        let item = self.list_position(target, item)?;
        let file = self.image_bytes();
        let start = |rid| {
            self.metadata
                .tables
                .row(file, table, rid)
                .map_or(u32::MAX, |r| r.cell(column))
        };
        let after = partition(1..self.row_count(table) + 1, |rid| start(rid) <= item);
        (after > 1).then(|| after - 1)
    }

    /// Property rows of a type.
    pub fn properties_of(&self, typedef_rid: u32) -> Range<u32> {
        let index = self
            .indexes
            .property_maps
            .get_or_init(|| self.map_index(TableId::PropertyMap));
        let row = index.get(&typedef_rid).and_then(|rid| self.property_map(*rid).ok());
        row.map_or(1..1, |r| r.property_list)
    }

    /// Event rows of a type.
    pub fn events_of(&self, typedef_rid: u32) -> Range<u32> {
        let index = self
            .indexes
            .event_maps
            .get_or_init(|| self.map_index(TableId::EventMap));
        let row = index.get(&typedef_rid).and_then(|rid| self.event_map(*rid).ok());
        row.map_or(1..1, |r| r.event_list)
    }

    /// Parent to row for PropertyMap and EventMap, which need not be sorted.
    fn map_index(&self, table: TableId) -> FxHashMap<u32, u32> {
        let file = self.image_bytes();
        let rows = (1..=self.row_count(table)).rev();
        rows.filter_map(|rid| Some((self.metadata.tables.row(file, table, rid)?.cell(0), rid)))
            .collect()
    }

    /// MethodSemantics rows of an Event or Property.
    pub fn semantics_of(&self, association: Token) -> Range<u32> {
        self.rows_with_token(TableId::MethodSemantics, CodedIndex::HasSemantics, association)
    }

    /// A top-level type by name (TypeDef row). The index over all names is built on the first call.
    pub fn find_type_def(&self, namespace: &str, name: &str) -> Option<u32> {
        let name_of = |rid| {
            let r = self.row(TableId::TypeDef, rid).ok()?;
            let nested = r.u32(0) & 7 >= 2; // visibility: one of the nested ones
            if nested {
                None
            } else {
                Some((r.str(2).ok()?, r.str(1).ok()?))
            }
        };
        let rows = self.row_count(TableId::TypeDef);
        let index = self.indexes.type_names.get_or_init(|| NameIndex::build(rows, name_of));
        index.find(namespace, name, name_of)
    }

    /// A type nested in `enclosing` by name (TypeDef row).
    pub fn find_nested_type(&self, enclosing: u32, name: &str) -> Option<u32> {
        self.nested_types(enclosing).into_iter().find(|rid| {
            let row = self.row(TableId::TypeDef, *rid);
            row.and_then(|r| r.str(1)).is_ok_and(|n| n == name)
        })
    }

    /// A top-level exported type or forwarder by name (ExportedType row).
    pub fn find_exported_type(&self, namespace: &str, name: &str) -> Option<u32> {
        let name_of = |rid| {
            let r = self.exported_type(rid).ok()?;
            if r.implementation.is(TableId::ExportedType) {
                None
            } else {
                Some((r.namespace, r.name))
            }
        };
        let rows = self.row_count(TableId::ExportedType);
        let index = self
            .indexes
            .exported_names
            .get_or_init(|| NameIndex::build(rows, name_of));
        index.find(namespace, name, name_of)
    }

    /// Namespace and name of the type of an attribute: the type that declares its constructor.
    ///
    /// For a generic attribute this is the generic definition's name.
    pub fn attribute_type_name(&self, ca_rid: u32) -> Result<(&str, &str)> {
        let row = self.row(TableId::CustomAttribute, ca_rid)?;
        self.type_name(self.owner_of_ctor(row.required_coded(1)?)?)
    }

    fn owner_of_ctor(&self, ctor: Token) -> Result<Token> {
        match ctor.table() {
            Some(TableId::MemberRef) => self.row(TableId::MemberRef, ctor.rid())?.coded(0),
            _ => match self.owner_of_method(ctor.rid()) {
                Some(owner) => Ok(Token::new(TableId::TypeDef, owner)),
                None => Err(Error::bad(
                    Fault::Token {
                        token: ctor,
                        used_as: "attribute constructor",
                    },
                    0,
                )),
            },
        }
    }

    /// Namespace and name of a TypeDef, TypeRef or ExportedType; of a TypeSpec that is a generic instance, those of its
    /// definition. Other type specifications have no name: an error.
    pub fn type_name(&self, token: Token) -> Result<(&str, &str)> {
        let not_named = || {
            Error::bad(
                Fault::Token {
                    token,
                    used_as: "named type",
                },
                0,
            )
        };
        let (table, rid) = (token.table().ok_or_else(not_named)?, token.rid());
        match table {
            TableId::TypeDef | TableId::TypeRef => {
                let r = self.row(table, rid)?;
                Ok((r.str(2)?, r.str(1)?))
            }
            TableId::ExportedType => {
                let r = self.row(table, rid)?;
                Ok((r.str(3)?, r.str(2)?))
            }
            TableId::TypeSpec => {
                let blob = self.type_spec(rid)?.signature;
                let definition = crate::sig::definition_of_type_spec(blob);
                let definition = definition.map_err(|e| self.signature_error(blob, e))?;
                match definition {
                    Some(d) => self.type_name(d),
                    None => Err(not_named()),
                }
            }
            _ => Err(not_named()),
        }
    }

    /// Whether `parent` has an attribute of this type.
    pub fn has_attribute(&self, parent: Token, namespace: &str, name: &str) -> bool {
        self.find_attribute(parent, namespace, name).is_some()
    }

    /// The first attribute of this type on `parent` (CustomAttribute row).
    pub fn find_attribute(&self, parent: Token, namespace: &str, name: &str) -> Option<u32> {
        let mut rows = self.custom_attributes(parent);
        rows.find(|rid| self.attribute_type_name(*rid).is_ok_and(|n| n == (namespace, name)))
    }
}

/// The indirection table of a list's target.
fn pointer_table(target: TableId) -> Option<TableId> {
    Some(match target {
        TableId::Field => TableId::FieldPtr,
        TableId::MethodDef => TableId::MethodPtr,
        TableId::Param => TableId::ParamPtr,
        TableId::Event => TableId::EventPtr,
        TableId::Property => TableId::PropertyPtr,
        _ => return None,
    })
}

/// First row of `rows` for which `before` is false; `before` must be true for a prefix only.
fn partition(rows: Range<u32>, before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (rows.start, rows.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
