//! One accessor per table: row numbers in, typed rows out.

use crate::error::Result;
use crate::flags::*;
use crate::module::Module;
use crate::rows::*;
use crate::token::TableId;

/// Rows. Row numbers are 1-based; all fail with [`crate::Error::NoSuchRow`] beyond the table, or with a fault of the
/// file when a cell of the row is malformed.
impl Module {
    /// The manifest, none in a module that is not an assembly (ECMA-335 II.22.2).
    pub fn assembly(&self) -> Result<Option<AssemblyRow<'_>>> {
        if self.row_count(TableId::Assembly) == 0 {
            return Ok(None);
        }
        let r = self.row(TableId::Assembly, 1)?;
        Ok(Some(AssemblyRow {
            hash_algorithm: r.u32(0),
            version: (r.u16(1), r.u16(2), r.u16(3), r.u16(4)),
            flags: AssemblyFlags::from_bits_retain(r.u32(5)),
            public_key: r.blob(6)?,
            name: r.str(7)?,
            culture: r.str(8)?,
        }))
    }

    /// The module row (ECMA-335 II.22.30).
    pub fn module_row(&self) -> Result<ModuleRow<'_>> {
        let r = self.row(TableId::Module, 1)?;
        Ok(ModuleRow {
            generation: r.u16(0),
            name: r.str(1)?,
            mvid: r.guid(2)?,
        })
    }

    /// A type of another module (ECMA-335 II.22.38).
    pub fn type_ref(&self, rid: u32) -> Result<TypeRefRow<'_>> {
        let r = self.row(TableId::TypeRef, rid)?;
        Ok(TypeRefRow {
            resolution_scope: r.coded(0)?,
            name: r.str(1)?,
            namespace: r.str(2)?,
        })
    }

    /// A type defined here (ECMA-335 II.22.37).
    pub fn type_def(&self, rid: u32) -> Result<TypeDefRow<'_>> {
        let r = self.row(TableId::TypeDef, rid)?;
        Ok(TypeDefRow {
            flags: TypeAttributes::from_bits_retain(r.u32(0)),
            name: r.str(1)?,
            namespace: r.str(2)?,
            extends: r.coded(3)?,
            field_list: r.list(4)?,
            method_list: r.list(5)?,
        })
    }

    /// A field (ECMA-335 II.22.15).
    pub fn field(&self, rid: u32) -> Result<FieldRow<'_>> {
        let r = self.row(TableId::Field, rid)?;
        Ok(FieldRow {
            flags: FieldAttributes::from_bits_retain(r.u16(0)),
            name: r.str(1)?,
            signature: r.blob(2)?,
        })
    }

    /// A method (ECMA-335 II.22.26).
    pub fn method_def(&self, rid: u32) -> Result<MethodDefRow<'_>> {
        let r = self.row(TableId::MethodDef, rid)?;
        Ok(MethodDefRow {
            rva: r.u32(0),
            impl_flags: MethodImplAttributes::from_bits_retain(r.u16(1)),
            flags: MethodAttributes::from_bits_retain(r.u16(2)),
            name: r.str(3)?,
            signature: r.blob(4)?,
            param_list: r.list(5)?,
        })
    }

    /// As [`method_def`](Self::method_def), without looking at heaps and parameters: types have many methods that nobody asks for.
    pub fn method_def_cells(&self, rid: u32) -> Result<MethodDefCells> {
        let r = self.row(TableId::MethodDef, rid)?;
        Ok(MethodDefCells {
            impl_flags: MethodImplAttributes::from_bits_retain(r.u16(1)),
            flags: MethodAttributes::from_bits_retain(r.u16(2)),
            name: r.string_index(3)?,
            signature: r.blob_index(4)?,
        })
    }

    /// A parameter (ECMA-335 II.22.33).
    pub fn param(&self, rid: u32) -> Result<ParamRow<'_>> {
        let r = self.row(TableId::Param, rid)?;
        Ok(ParamRow {
            flags: ParamAttributes::from_bits_retain(r.u16(0)),
            sequence: r.u16(1),
            name: r.str(2)?,
        })
    }

    /// An interface a type implements (ECMA-335 II.22.23).
    pub fn interface_impl(&self, rid: u32) -> Result<InterfaceImplRow> {
        let r = self.row(TableId::InterfaceImpl, rid)?;
        Ok(InterfaceImplRow {
            class: r.required(0)?,
            interface: r.required_coded(1)?,
        })
    }

    /// A member of another type (ECMA-335 II.22.25).
    pub fn member_ref(&self, rid: u32) -> Result<MemberRefRow<'_>> {
        let r = self.row(TableId::MemberRef, rid)?;
        Ok(MemberRefRow {
            class: r.coded(0)?,
            name: r.str(1)?,
            signature: r.blob(2)?,
        })
    }

    /// A compile-time constant (ECMA-335 II.22.9).
    pub fn constant(&self, rid: u32) -> Result<ConstantRow<'_>> {
        let r = self.row(TableId::Constant, rid)?;
        Ok(ConstantRow {
            ty: r.u16(0) as u8,
            parent: r.required_coded(1)?,
            value: r.blob(2)?,
        })
    }

    /// A custom attribute (ECMA-335 II.22.10).
    pub fn custom_attribute(&self, rid: u32) -> Result<CustomAttributeRow<'_>> {
        let r = self.row(TableId::CustomAttribute, rid)?;
        Ok(CustomAttributeRow {
            parent: r.coded(0)?,
            ctor: r.required_coded(1)?,
            value: r.blob(2)?,
        })
    }

    /// A marshalling descriptor (ECMA-335 II.22.17).
    pub fn field_marshal(&self, rid: u32) -> Result<FieldMarshalRow<'_>> {
        let r = self.row(TableId::FieldMarshal, rid)?;
        Ok(FieldMarshalRow {
            parent: r.required_coded(0)?,
            native_type: r.blob(1)?,
        })
    }

    /// Declarative security (ECMA-335 II.22.11).
    pub fn decl_security(&self, rid: u32) -> Result<DeclSecurityRow<'_>> {
        let r = self.row(TableId::DeclSecurity, rid)?;
        Ok(DeclSecurityRow {
            action: r.u16(0),
            parent: r.required_coded(1)?,
            permission_set: r.blob(2)?,
        })
    }

    /// Packing and size of a class (ECMA-335 II.22.8).
    pub fn class_layout(&self, rid: u32) -> Result<ClassLayoutRow> {
        let r = self.row(TableId::ClassLayout, rid)?;
        Ok(ClassLayoutRow {
            packing_size: r.u16(0),
            class_size: r.u32(1),
            parent: r.required(2)?,
        })
    }

    /// An explicit field offset (ECMA-335 II.22.16).
    pub fn field_layout(&self, rid: u32) -> Result<FieldLayoutRow> {
        let r = self.row(TableId::FieldLayout, rid)?;
        Ok(FieldLayoutRow {
            offset: r.u32(0),
            field: r.required(1)?,
        })
    }

    /// A signature of locals or for `calli` (ECMA-335 II.22.36).
    pub fn stand_alone_sig(&self, rid: u32) -> Result<StandAloneSigRow<'_>> {
        let r = self.row(TableId::StandAloneSig, rid)?;
        Ok(StandAloneSigRow { signature: r.blob(0)? })
    }

    /// The events of a type (ECMA-335 II.22.12).
    pub fn event_map(&self, rid: u32) -> Result<EventMapRow> {
        let r = self.row(TableId::EventMap, rid)?;
        Ok(EventMapRow {
            parent: r.required(0)?,
            event_list: r.list(1)?,
        })
    }

    /// An event (ECMA-335 II.22.13).
    pub fn event(&self, rid: u32) -> Result<EventRow<'_>> {
        let r = self.row(TableId::Event, rid)?;
        Ok(EventRow {
            flags: EventAttributes::from_bits_retain(r.u16(0)),
            name: r.str(1)?,
            event_type: r.coded(2)?,
        })
    }

    /// The properties of a type (ECMA-335 II.22.35).
    pub fn property_map(&self, rid: u32) -> Result<PropertyMapRow> {
        let r = self.row(TableId::PropertyMap, rid)?;
        Ok(PropertyMapRow {
            parent: r.required(0)?,
            property_list: r.list(1)?,
        })
    }

    /// A property (ECMA-335 II.22.34).
    pub fn property(&self, rid: u32) -> Result<PropertyRow<'_>> {
        let r = self.row(TableId::Property, rid)?;
        Ok(PropertyRow {
            flags: PropertyAttributes::from_bits_retain(r.u16(0)),
            name: r.str(1)?,
            signature: r.blob(2)?,
        })
    }

    /// An accessor (ECMA-335 II.22.28).
    pub fn method_semantics(&self, rid: u32) -> Result<MethodSemanticsRow> {
        let r = self.row(TableId::MethodSemantics, rid)?;
        Ok(MethodSemanticsRow {
            semantics: MethodSemanticsAttributes::from_bits_retain(r.u16(0)),
            method: r.required(1)?,
            association: r.required_coded(2)?,
        })
    }

    /// An explicit override (ECMA-335 II.22.27).
    pub fn method_impl(&self, rid: u32) -> Result<MethodImplRow> {
        let r = self.row(TableId::MethodImpl, rid)?;
        Ok(MethodImplRow {
            class: r.required(0)?,
            body: r.required_coded(1)?,
            declaration: r.required_coded(2)?,
        })
    }

    /// Another module or a native library (ECMA-335 II.22.31).
    pub fn module_ref(&self, rid: u32) -> Result<ModuleRefRow<'_>> {
        let r = self.row(TableId::ModuleRef, rid)?;
        Ok(ModuleRefRow { name: r.str(0)? })
    }

    /// A constructed type (ECMA-335 II.22.39).
    pub fn type_spec(&self, rid: u32) -> Result<TypeSpecRow<'_>> {
        let r = self.row(TableId::TypeSpec, rid)?;
        Ok(TypeSpecRow { signature: r.blob(0)? })
    }

    /// A P/Invoke target (ECMA-335 II.22.22).
    pub fn impl_map(&self, rid: u32) -> Result<ImplMapRow<'_>> {
        let r = self.row(TableId::ImplMap, rid)?;
        Ok(ImplMapRow {
            mapping_flags: PInvokeAttributes::from_bits_retain(r.u16(0)),
            member_forwarded: r.required_coded(1)?,
            import_name: r.str(2)?,
            import_scope: r.reference(3)?,
        })
    }

    /// Initial data of a static field (ECMA-335 II.22.18).
    pub fn field_rva(&self, rid: u32) -> Result<FieldRvaRow> {
        let r = self.row(TableId::FieldRva, rid)?;
        Ok(FieldRvaRow {
            rva: r.u32(0),
            field: r.required(1)?,
        })
    }

    /// A referenced assembly (ECMA-335 II.22.5).
    pub fn assembly_ref(&self, rid: u32) -> Result<AssemblyRefRow<'_>> {
        let r = self.row(TableId::AssemblyRef, rid)?;
        Ok(AssemblyRefRow {
            version: (r.u16(0), r.u16(1), r.u16(2), r.u16(3)),
            flags: AssemblyFlags::from_bits_retain(r.u32(4)),
            public_key_or_token: r.blob(5)?,
            name: r.str(6)?,
            culture: r.str(7)?,
            hash: r.blob(8)?,
        })
    }

    /// Another file of the assembly (ECMA-335 II.22.19).
    pub fn file(&self, rid: u32) -> Result<FileRow<'_>> {
        let r = self.row(TableId::File, rid)?;
        Ok(FileRow {
            flags: FileAttributes::from_bits_retain(r.u32(0)),
            name: r.str(1)?,
            hash: r.blob(2)?,
        })
    }

    /// A type of another module that the assembly exports, or a forwarder (ECMA-335 II.22.14).
    pub fn exported_type(&self, rid: u32) -> Result<ExportedTypeRow<'_>> {
        let r = self.row(TableId::ExportedType, rid)?;
        Ok(ExportedTypeRow {
            flags: TypeAttributes::from_bits_retain(r.u32(0)),
            type_def_id: r.u32(1),
            name: r.str(2)?,
            namespace: r.str(3)?,
            implementation: r.required_coded(4)?,
        })
    }

    /// A resource (ECMA-335 II.22.24).
    pub fn manifest_resource(&self, rid: u32) -> Result<ManifestResourceRow<'_>> {
        let r = self.row(TableId::ManifestResource, rid)?;
        Ok(ManifestResourceRow {
            offset: r.u32(0),
            flags: ManifestResourceAttributes::from_bits_retain(r.u32(1)),
            name: r.str(2)?,
            implementation: r.coded(3)?,
        })
    }

    /// A nested type (ECMA-335 II.22.32).
    pub fn nested_class(&self, rid: u32) -> Result<NestedClassRow> {
        let r = self.row(TableId::NestedClass, rid)?;
        Ok(NestedClassRow {
            nested: r.required(0)?,
            enclosing: r.required(1)?,
        })
    }

    /// A generic parameter (ECMA-335 II.22.20).
    pub fn generic_param(&self, rid: u32) -> Result<GenericParamRow<'_>> {
        let r = self.row(TableId::GenericParam, rid)?;
        Ok(GenericParamRow {
            number: r.u16(0),
            flags: GenericParamAttributes::from_bits_retain(r.u16(1)),
            owner: r.required_coded(2)?,
            name: r.str(3)?,
        })
    }

    /// An instantiation of a generic method (ECMA-335 II.22.29).
    pub fn method_spec(&self, rid: u32) -> Result<MethodSpecRow<'_>> {
        let r = self.row(TableId::MethodSpec, rid)?;
        Ok(MethodSpecRow {
            method: r.required_coded(0)?,
            instantiation: r.blob(1)?,
        })
    }

    /// A constraint of a generic parameter (ECMA-335 II.22.21).
    pub fn generic_param_constraint(&self, rid: u32) -> Result<GenericParamConstraintRow> {
        let r = self.row(TableId::GenericParamConstraint, rid)?;
        Ok(GenericParamConstraintRow {
            owner: r.required(0)?,
            constraint: r.required_coded(1)?,
        })
    }
}
