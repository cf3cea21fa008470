//! Columns of every metadata table and the coded indices (ECMA-335 II.22, II.24.2.6).

use crate::token::TableId::{self, *};
use crate::token::Token;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// A 2-byte constant.
    U16,
    /// A 4-byte constant.
    U32,
    /// An index into `#Strings`.
    Str,
    /// An index into `#GUID`.
    Guid,
    /// An index into `#Blob`.
    Blob,
    /// A row of one table.
    Row(TableId),
    /// The first row of a list in another table; the next row's value ends it.
    List(TableId),
    /// A row of one of several tables.
    Coded(CodedIndex),
}

/// The coded index kinds of ECMA-335 II.24.2.6, and HasCustomDebugInformation of portable PDB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // the names are the standard's
pub enum CodedIndex {
    TypeDefOrRef,
    HasConstant,
    HasCustomAttribute,
    HasFieldMarshal,
    HasDeclSecurity,
    MemberRefParent,
    HasSemantics,
    MethodDefOrRef,
    MemberForwarded,
    Implementation,
    CustomAttributeType,
    ResolutionScope,
    TypeOrMethodDef,
    HasCustomDebugInformation,
}

impl CodedIndex {
    /// Low bits used for the tag.
    pub const fn tag_bits(self) -> u32 {
        match self {
            CodedIndex::HasFieldMarshal
            | CodedIndex::HasSemantics
            | CodedIndex::MethodDefOrRef
            | CodedIndex::MemberForwarded
            | CodedIndex::TypeOrMethodDef => 1,
            CodedIndex::TypeDefOrRef
            | CodedIndex::HasConstant
            | CodedIndex::HasDeclSecurity
            | CodedIndex::Implementation
            | CodedIndex::ResolutionScope => 2,
            CodedIndex::MemberRefParent | CodedIndex::CustomAttributeType => 3,
            CodedIndex::HasCustomAttribute | CodedIndex::HasCustomDebugInformation => 5,
        }
    }

    /// The table of each tag; none for tags without one.
    pub const fn tables(self) -> &'static [Option<TableId>] {
        match self {
            CodedIndex::TypeDefOrRef => &[Some(TypeDef), Some(TypeRef), Some(TypeSpec)],
            CodedIndex::HasConstant => &[Some(Field), Some(Param), Some(Property)],
            CodedIndex::HasCustomAttribute => HAS_CUSTOM.split_at(22).0,
            CodedIndex::HasFieldMarshal => &[Some(Field), Some(Param)],
            CodedIndex::HasDeclSecurity => &[Some(TypeDef), Some(MethodDef), Some(Assembly)],
            CodedIndex::MemberRefParent => &[
                Some(TypeDef),
                Some(TypeRef),
                Some(ModuleRef),
                Some(MethodDef),
                Some(TypeSpec),
            ],
            CodedIndex::HasSemantics => &[Some(Event), Some(Property)],
            CodedIndex::MethodDefOrRef => &[Some(MethodDef), Some(MemberRef)],
            CodedIndex::MemberForwarded => &[Some(Field), Some(MethodDef)],
            CodedIndex::Implementation => &[Some(File), Some(AssemblyRef), Some(ExportedType)],
            CodedIndex::CustomAttributeType => &[None, None, Some(MethodDef), Some(MemberRef)],
            CodedIndex::ResolutionScope => &[Some(Module), Some(ModuleRef), Some(AssemblyRef), Some(TypeRef)],
            CodedIndex::TypeOrMethodDef => &[Some(TypeDef), Some(MethodDef)],
            CodedIndex::HasCustomDebugInformation => &HAS_CUSTOM,
        }
    }

    /// Decodes a raw value; none if the tag means no table.
    pub fn decode(self, raw: u32) -> Option<Token> {
        let tag = raw & ((1 << self.tag_bits()) - 1);
        let table = self.tables().get(tag as usize).copied().flatten()?;
        let rid = raw >> self.tag_bits();
        (rid <= 0x00ff_ffff).then(|| Token::new(table, rid))
    }

    /// Encodes a token; none if its table has no tag here.
    pub fn encode(self, token: Token) -> Option<u32> {
        let table = token.table();
        let tag = self.tables().iter().position(|t| t.is_some() && *t == table)?;
        token.rid().checked_mul(1 << self.tag_bits()).map(|r| r | tag as u32)
    }
}

const HAS_CUSTOM: [Option<TableId>; 27] = [
    Some(MethodDef),
    Some(Field),
    Some(TypeRef),
    Some(TypeDef),
    Some(Param),
    Some(InterfaceImpl),
    Some(MemberRef),
    Some(Module),
    Some(DeclSecurity),
    Some(Property),
    Some(Event),
    Some(StandAloneSig),
    Some(ModuleRef),
    Some(TypeSpec),
    Some(Assembly),
    Some(AssemblyRef),
    Some(File),
    Some(ExportedType),
    Some(ManifestResource),
    Some(GenericParam),
    Some(GenericParamConstraint),
    Some(MethodSpec),
    Some(Document),
    Some(LocalScope),
    Some(LocalVariable),
    Some(LocalConstant),
    Some(ImportScope),
];

/// The columns of a table with their names, in order.
pub const fn columns(table: TableId) -> &'static [(&'static str, Column)] {
    use CodedIndex::*;
    use Column::*;
    match table {
        Module => &[
            ("Generation", U16),
            ("Name", Str),
            ("Mvid", Guid),
            ("EncId", Guid),
            ("EncBaseId", Guid),
        ],
        TypeRef => &[
            ("ResolutionScope", Coded(ResolutionScope)),
            ("Name", Str),
            ("Namespace", Str),
        ],
        TypeDef => &[
            ("Flags", U32),
            ("Name", Str),
            ("Namespace", Str),
            ("Extends", Coded(TypeDefOrRef)),
            ("FieldList", List(Field)),
            ("MethodList", List(MethodDef)),
        ],
        FieldPtr => &[("Field", Row(Field))],
        Field => &[("Flags", U16), ("Name", Str), ("Signature", Blob)],
        MethodPtr => &[("Method", Row(MethodDef))],
        MethodDef => &[
            ("RVA", U32),
            ("ImplFlags", U16),
            ("Flags", U16),
            ("Name", Str),
            ("Signature", Blob),
            ("ParamList", List(Param)),
        ],
        ParamPtr => &[("Param", Row(Param))],
        Param => &[("Flags", U16), ("Sequence", U16), ("Name", Str)],
        InterfaceImpl => &[("Class", Row(TypeDef)), ("Interface", Coded(TypeDefOrRef))],
        MemberRef => &[("Class", Coded(MemberRefParent)), ("Name", Str), ("Signature", Blob)],
        Constant => &[("Type", U16), ("Parent", Coded(HasConstant)), ("Value", Blob)],
        CustomAttribute => &[
            ("Parent", Coded(HasCustomAttribute)),
            ("Type", Coded(CustomAttributeType)),
            ("Value", Blob),
        ],
        FieldMarshal => &[("Parent", Coded(HasFieldMarshal)), ("NativeType", Blob)],
        DeclSecurity => &[
            ("Action", U16),
            ("Parent", Coded(HasDeclSecurity)),
            ("PermissionSet", Blob),
        ],
        ClassLayout => &[("PackingSize", U16), ("ClassSize", U32), ("Parent", Row(TypeDef))],
        FieldLayout => &[("Offset", U32), ("Field", Row(Field))],
        StandAloneSig => &[("Signature", Blob)],
        EventMap => &[("Parent", Row(TypeDef)), ("EventList", List(Event))],
        EventPtr => &[("Event", Row(Event))],
        Event => &[("EventFlags", U16), ("Name", Str), ("EventType", Coded(TypeDefOrRef))],
        PropertyMap => &[("Parent", Row(TypeDef)), ("PropertyList", List(Property))],
        PropertyPtr => &[("Property", Row(Property))],
        Property => &[("Flags", U16), ("Name", Str), ("Type", Blob)],
        MethodSemantics => &[
            ("Semantics", U16),
            ("Method", Row(MethodDef)),
            ("Association", Coded(HasSemantics)),
        ],
        MethodImpl => &[
            ("Class", Row(TypeDef)),
            ("MethodBody", Coded(MethodDefOrRef)),
            ("MethodDeclaration", Coded(MethodDefOrRef)),
        ],
        ModuleRef => &[("Name", Str)],
        TypeSpec => &[("Signature", Blob)],
        ImplMap => &[
            ("MappingFlags", U16),
            ("MemberForwarded", Coded(MemberForwarded)),
            ("ImportName", Str),
            ("ImportScope", Row(ModuleRef)),
        ],
        FieldRva => &[("RVA", U32), ("Field", Row(Field))],
        EncLog => &[("Token", U32), ("FuncCode", U32)],
        EncMap => &[("Token", U32)],
        Assembly => &[
            ("HashAlgId", U32),
            ("MajorVersion", U16),
            ("MinorVersion", U16),
            ("BuildNumber", U16),
            ("RevisionNumber", U16),
            ("Flags", U32),
            ("PublicKey", Blob),
            ("Name", Str),
            ("Culture", Str),
        ],
        AssemblyProcessor => &[("Processor", U32)],
        AssemblyOs => &[("OSPlatformID", U32), ("OSMajorVersion", U32), ("OSMinorVersion", U32)],
        AssemblyRef => &[
            ("MajorVersion", U16),
            ("MinorVersion", U16),
            ("BuildNumber", U16),
            ("RevisionNumber", U16),
            ("Flags", U32),
            ("PublicKeyOrToken", Blob),
            ("Name", Str),
            ("Culture", Str),
            ("HashValue", Blob),
        ],
        AssemblyRefProcessor => &[("Processor", U32), ("AssemblyRef", Row(AssemblyRef))],
        AssemblyRefOs => &[
            ("OSPlatformID", U32),
            ("OSMajorVersion", U32),
            ("OSMinorVersion", U32),
            ("AssemblyRef", Row(AssemblyRef)),
        ],
        File => &[("Flags", U32), ("Name", Str), ("HashValue", Blob)],
        ExportedType => &[
            ("Flags", U32),
            ("TypeDefId", U32),
            ("TypeName", Str),
            ("TypeNamespace", Str),
            ("Implementation", Coded(Implementation)),
        ],
        ManifestResource => &[
            ("Offset", U32),
            ("Flags", U32),
            ("Name", Str),
            ("Implementation", Coded(Implementation)),
        ],
        NestedClass => &[("NestedClass", Row(TypeDef)), ("EnclosingClass", Row(TypeDef))],
        GenericParam => &[
            ("Number", U16),
            ("Flags", U16),
            ("Owner", Coded(TypeOrMethodDef)),
            ("Name", Str),
        ],
        MethodSpec => &[("Method", Coded(MethodDefOrRef)), ("Instantiation", Blob)],
        GenericParamConstraint => &[("Owner", Row(GenericParam)), ("Constraint", Coded(TypeDefOrRef))],
        Document => &[
            ("Name", Blob),
            ("HashAlgorithm", Guid),
            ("Hash", Blob),
            ("Language", Guid),
        ],
        MethodDebugInformation => &[("Document", Row(Document)), ("SequencePoints", Blob)],
        LocalScope => &[
            ("Method", Row(MethodDef)),
            ("ImportScope", Row(ImportScope)),
            ("VariableList", List(LocalVariable)),
            ("ConstantList", List(LocalConstant)),
            ("StartOffset", U32),
            ("Length", U32),
        ],
        LocalVariable => &[("Attributes", U16), ("Index", U16), ("Name", Str)],
        LocalConstant => &[("Name", Str), ("Signature", Blob)],
        ImportScope => &[("Parent", Row(ImportScope)), ("Imports", Blob)],
        StateMachineMethod => &[("MoveNextMethod", Row(MethodDef)), ("KickoffMethod", Row(MethodDef))],
        CustomDebugInformation => &[
            ("Parent", Coded(HasCustomDebugInformation)),
            ("Kind", Guid),
            ("Value", Blob),
        ],
    }
}

/// The column by which a table must be sorted (ECMA-335 II.22), as an index into [`columns`].
pub const fn sort_column(table: TableId) -> Option<usize> {
    match table {
        InterfaceImpl | FieldMarshal | MethodImpl | NestedClass | GenericParamConstraint | CustomAttribute => Some(0),
        Constant | DeclSecurity | FieldLayout | ImplMap | FieldRva => Some(1),
        ClassLayout | MethodSemantics | GenericParam => Some(2),
        LocalScope | StateMachineMethod | CustomDebugInformation => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coded_indices_round_trip() {
        for kind in [
            CodedIndex::TypeDefOrRef,
            CodedIndex::HasCustomAttribute,
            CodedIndex::CustomAttributeType,
        ] {
            for table in kind.tables().iter().flatten() {
                let token = Token::new(*table, 0x1234);
                let raw = kind.encode(token).unwrap();
                assert_eq!(kind.decode(raw), Some(token));
            }
        }
        assert_eq!(CodedIndex::TypeDefOrRef.decode(3), None);
        assert_eq!(CodedIndex::TypeDefOrRef.decode(0x49), Some(Token(0x0100_0012)));
        assert_eq!(CodedIndex::TypeDefOrRef.encode(Token(0x0600_0001)), None);
        assert_eq!(CodedIndex::CustomAttributeType.decode(0), None);
    }
}
