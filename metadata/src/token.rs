//! Metadata tokens and table numbers (ECMA-335 II.22, III.1.9).

use std::fmt;

/// A metadata token: table number in the top byte, 1-based row below it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Token(pub u32);

impl Token {
    /// The nil token of table 0.
    pub const NIL: Token = Token(0);
    /// Table byte of a user-string token, which is no table (ECMA-335 III.1.9).
    pub const USER_STRING: u8 = 0x70;

    /// Makes a token. Only the low 24 bits of `rid` count.
    pub const fn new(table: TableId, rid: u32) -> Token {
        Token((table as u32) << 24 | (rid & 0x00ff_ffff))
    }

    /// The top byte.
    pub const fn raw_table(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// The table, none if the top byte is no table number.
    pub const fn table(self) -> Option<TableId> {
        TableId::from_u8(self.raw_table())
    }

    /// The 1-based row; 0 is nil. For a user string, its offset in the `#US` heap.
    pub const fn rid(self) -> u32 {
        self.0 & 0x00ff_ffff
    }

    /// Whether the row part is zero.
    pub const fn is_nil(self) -> bool {
        self.rid() == 0
    }

    /// Whether this is a token of `table`.
    pub const fn is(self, table: TableId) -> bool {
        self.raw_table() == table as u8
    }

    /// Whether this names a user string (0x70).
    pub const fn is_user_string(self) -> bool {
        self.raw_table() == Token::USER_STRING
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

macro_rules! table_ids {
    ($($(#[$doc:meta])* $name:ident = $number:literal),* $(,)?) => {
        /// Metadata table numbers (ECMA-335 II.22; 0x30 and up: Portable PDB).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(u8)]
        pub enum TableId { $($(#[$doc])* $name = $number),* }

        impl TableId {
            /// All tables in numeric order.
            pub const ALL: &'static [TableId] = &[$(TableId::$name),*];

            /// The table with this number.
            pub const fn from_u8(number: u8) -> Option<TableId> {
                match number { $($number => Some(TableId::$name),)* _ => None }
            }

            /// The table's name in the standard.
            pub const fn name(self) -> &'static str {
                match self { $(TableId::$name => stringify!($name)),* }
            }
        }
    };
}

table_ids! {
    /// The module itself: one row (II.22.30).
    Module = 0x00,
    /// Types of other modules (II.22.38).
    TypeRef = 0x01,
    /// Types defined here; row 1 is `<Module>` (II.22.37).
    TypeDef = 0x02,
    /// Indirection to Field; uncompressed images only.
    FieldPtr = 0x03,
    /// Fields (II.22.15).
    Field = 0x04,
    /// Indirection to MethodDef; uncompressed images only.
    MethodPtr = 0x05,
    /// Methods (II.22.26).
    MethodDef = 0x06,
    /// Indirection to Param; uncompressed images only.
    ParamPtr = 0x07,
    /// Parameters (II.22.33).
    Param = 0x08,
    /// Interfaces a type implements (II.22.23).
    InterfaceImpl = 0x09,
    /// Members of other types (II.22.25).
    MemberRef = 0x0a,
    /// Compile-time constants (II.22.9).
    Constant = 0x0b,
    /// Custom attributes (II.22.10).
    CustomAttribute = 0x0c,
    /// Marshalling descriptors (II.22.17).
    FieldMarshal = 0x0d,
    /// Declarative security (II.22.11).
    DeclSecurity = 0x0e,
    /// Packing and size of classes (II.22.8).
    ClassLayout = 0x0f,
    /// Explicit field offsets (II.22.16).
    FieldLayout = 0x10,
    /// Signatures for locals and `calli` (II.22.36).
    StandAloneSig = 0x11,
    /// Which events a type has (II.22.12).
    EventMap = 0x12,
    /// Indirection to Event; uncompressed images only.
    EventPtr = 0x13,
    /// Events (II.22.13).
    Event = 0x14,
    /// Which properties a type has (II.22.35).
    PropertyMap = 0x15,
    /// Indirection to Property; uncompressed images only.
    PropertyPtr = 0x16,
    /// Properties (II.22.34).
    Property = 0x17,
    /// Accessors of properties and events (II.22.28).
    MethodSemantics = 0x18,
    /// Explicit overrides (II.22.27).
    MethodImpl = 0x19,
    /// Other modules, also native libraries (II.22.31).
    ModuleRef = 0x1a,
    /// Constructed types (II.22.39).
    TypeSpec = 0x1b,
    /// P/Invoke targets (II.22.22).
    ImplMap = 0x1c,
    /// Initial data of static fields (II.22.18).
    FieldRva = 0x1d,
    /// Edit-and-continue log.
    EncLog = 0x1e,
    /// Edit-and-continue map.
    EncMap = 0x1f,
    /// The manifest: at most one row (II.22.2).
    Assembly = 0x20,
    /// Obsolete (II.22.4).
    AssemblyProcessor = 0x21,
    /// Obsolete (II.22.3).
    AssemblyOs = 0x22,
    /// Referenced assemblies (II.22.5).
    AssemblyRef = 0x23,
    /// Obsolete (II.22.7).
    AssemblyRefProcessor = 0x24,
    /// Obsolete (II.22.6).
    AssemblyRefOs = 0x25,
    /// Other files of the assembly (II.22.19).
    File = 0x26,
    /// Types of other modules that this assembly exports, and forwarders (II.22.14).
    ExportedType = 0x27,
    /// Resources (II.22.24).
    ManifestResource = 0x28,
    /// Which type encloses a nested type (II.22.32).
    NestedClass = 0x29,
    /// Generic parameters (II.22.20).
    GenericParam = 0x2a,
    /// Instantiations of generic methods (II.22.29).
    MethodSpec = 0x2b,
    /// Constraints of generic parameters (II.22.21).
    GenericParamConstraint = 0x2c,
    /// Portable PDB: source files.
    Document = 0x30,
    /// Portable PDB: sequence points by method.
    MethodDebugInformation = 0x31,
    /// Portable PDB: scopes of locals.
    LocalScope = 0x32,
    /// Portable PDB: names of locals.
    LocalVariable = 0x33,
    /// Portable PDB: local constants.
    LocalConstant = 0x34,
    /// Portable PDB: imports.
    ImportScope = 0x35,
    /// Portable PDB: state machine methods.
    StateMachineMethod = 0x36,
    /// Portable PDB: custom records.
    CustomDebugInformation = 0x37,
}
