//! Flag words of metadata rows, with the names of ECMA-335 II.23.1.
//!
//! Unknown bits are kept. Where a group of bits holds a value (visibility, access, layout...), there is a `..._MASK`
//! constant: test `flags & MASK == VALUE`, not `contains`.

use bitflags::bitflags;

bitflags! {
    /// Flags of a type (ECMA-335 II.23.1.15).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct TypeAttributes: u32 {
        /// Mask of the visibility values below.
        const VISIBILITY_MASK = 0x7;
        /// Visible in its assembly only.
        const NOT_PUBLIC = 0x0;
        /// Visible everywhere.
        const PUBLIC = 0x1;
        /// Nested, public.
        const NESTED_PUBLIC = 0x2;
        /// Nested, private.
        const NESTED_PRIVATE = 0x3;
        /// Nested, protected.
        const NESTED_FAMILY = 0x4;
        /// Nested, internal.
        const NESTED_ASSEMBLY = 0x5;
        /// Nested, protected and internal.
        const NESTED_FAM_AND_ASSEM = 0x6;
        /// Nested, protected or internal.
        const NESTED_FAM_OR_ASSEM = 0x7;
        /// Mask of the layout values below.
        const LAYOUT_MASK = 0x18;
        /// Fields in order of declaration.
        const SEQUENTIAL_LAYOUT = 0x8;
        /// Fields at given offsets.
        const EXPLICIT_LAYOUT = 0x10;
        /// Layout given by an attribute.
        const EXTENDED_LAYOUT = 0x18;
        /// An interface.
        const INTERFACE = 0x20;
        /// Cannot be instantiated.
        const ABSTRACT = 0x80;
        /// Cannot be derived from.
        const SEALED = 0x100;
        /// The name is special.
        const SPECIAL_NAME = 0x400;
        /// Imported from COM.
        const IMPORT = 0x1000;
        /// Serialisable.
        const SERIALIZABLE = 0x2000;
        /// A Windows Runtime type.
        const WINDOWS_RUNTIME = 0x4000;
        /// Mask of the native string format.
        const STRING_FORMAT_MASK = 0x30000;
        /// Native strings are UTF-16.
        const UNICODE_CLASS = 0x10000;
        /// Native strings are in the platform's format.
        const AUTO_CLASS = 0x20000;
        /// Native strings are in an own format.
        const CUSTOM_FORMAT_CLASS = 0x30000;
        /// The static constructor need not run before the first method.
        const BEFORE_FIELD_INIT = 0x100000;
        /// The runtime gives the name a meaning.
        const RT_SPECIAL_NAME = 0x800;
        /// Has declarative security.
        const HAS_SECURITY = 0x40000;
        /// An exported type that lives elsewhere.
        const IS_TYPE_FORWARDER = 0x200000;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of a method (ECMA-335 II.23.1.10).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MethodAttributes: u16 {
        /// Mask of the access values below.
        const MEMBER_ACCESS_MASK = 0x7;
        /// Not referable by name.
        const COMPILER_CONTROLLED = 0x0;
        /// Accessible in its type.
        const PRIVATE = 0x1;
        /// Protected and internal.
        const FAM_AND_ASSEM = 0x2;
        /// Internal.
        const ASSEM = 0x3;
        /// Protected.
        const FAMILY = 0x4;
        /// Protected or internal.
        const FAM_OR_ASSEM = 0x5;
        /// Public.
        const PUBLIC = 0x6;
        /// Has no `this`.
        const STATIC = 0x10;
        /// Cannot be overridden.
        const FINAL = 0x20;
        /// Virtual.
        const VIRTUAL = 0x40;
        /// Hides by name and signature.
        const HIDE_BY_SIG = 0x80;
        /// Always gets a new vtable slot.
        const NEW_SLOT = 0x100;
        /// Can be overridden only if accessible.
        const STRICT = 0x200;
        /// Has no body.
        const ABSTRACT = 0x400;
        /// The name is special.
        const SPECIAL_NAME = 0x800;
        /// The runtime gives the name a meaning.
        const RT_SPECIAL_NAME = 0x1000;
        /// Implemented by a native library.
        const PINVOKE_IMPL = 0x2000;
        /// Exported to native code.
        const UNMANAGED_EXPORT = 0x8;
        /// Has declarative security.
        const HAS_SECURITY = 0x4000;
        /// Calls a method with security code.
        const REQUIRE_SEC_OBJECT = 0x8000;
        const _ = !0;
    }
}

bitflags! {
    /// Implementation flags of a method (ECMA-335 II.23.1.11).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MethodImplAttributes: u16 {
        /// Mask of the code type values below.
        const CODE_TYPE_MASK = 0x3;
        /// The body is IL.
        const IL = 0x0;
        /// The body is native code.
        const NATIVE = 0x1;
        /// Reserved.
        const OPTIL = 0x2;
        /// The runtime provides the body.
        const RUNTIME = 0x3;
        /// Not managed.
        const UNMANAGED = 0x4;
        /// Must not be inlined.
        const NO_INLINING = 0x8;
        /// Declared, not defined.
        const FORWARD_REF = 0x10;
        /// Body runs under a lock.
        const SYNCHRONIZED = 0x20;
        /// Must not be optimised.
        const NO_OPTIMIZATION = 0x40;
        /// The signature is not transformed for COM.
        const PRESERVE_SIG = 0x80;
        /// Should be inlined.
        const AGGRESSIVE_INLINING = 0x100;
        /// Optimise at once; no tiering.
        const AGGRESSIVE_OPTIMIZATION = 0x200;
        /// Runtime-async method.
        const ASYNC = 0x2000;
        /// Implemented inside the runtime.
        const INTERNAL_CALL = 0x1000;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of a field (ECMA-335 II.23.1.5).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FieldAttributes: u16 {
        /// Mask of the access values below.
        const FIELD_ACCESS_MASK = 0x7;
        /// Not referable by name.
        const COMPILER_CONTROLLED = 0x0;
        /// Accessible in its type.
        const PRIVATE = 0x1;
        /// Protected and internal.
        const FAM_AND_ASSEM = 0x2;
        /// Internal.
        const ASSEMBLY = 0x3;
        /// Protected.
        const FAMILY = 0x4;
        /// Protected or internal.
        const FAM_OR_ASSEM = 0x5;
        /// Public.
        const PUBLIC = 0x6;
        /// Static.
        const STATIC = 0x10;
        /// Assigned in constructors only.
        const INIT_ONLY = 0x20;
        /// A constant; has no storage.
        const LITERAL = 0x40;
        /// Not serialised.
        const NOT_SERIALIZED = 0x80;
        /// The name is special.
        const SPECIAL_NAME = 0x200;
        /// Reserved.
        const PINVOKE_IMPL = 0x2000;
        /// The runtime gives the name a meaning.
        const RT_SPECIAL_NAME = 0x400;
        /// Has a marshalling descriptor.
        const HAS_FIELD_MARSHAL = 0x1000;
        /// Has a constant.
        const HAS_DEFAULT = 0x8000;
        /// Has initial data in the image.
        const HAS_FIELD_RVA = 0x100;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of a parameter (ECMA-335 II.23.1.13).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct ParamAttributes: u16 {
        /// Passed in.
        const IN = 0x1;
        /// Passed out.
        const OUT = 0x2;
        /// May be omitted.
        const OPTIONAL = 0x10;
        /// Has a constant.
        const HAS_DEFAULT = 0x1000;
        /// Has a marshalling descriptor.
        const HAS_FIELD_MARSHAL = 0x2000;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of a generic parameter (ECMA-335 II.23.1.7).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct GenericParamAttributes: u16 {
        /// Mask of the variance values below.
        const VARIANCE_MASK = 0x3;
        /// Covariant.
        const COVARIANT = 0x1;
        /// Contravariant.
        const CONTRAVARIANT = 0x2;
        /// Mask of the constraints below.
        const SPECIAL_CONSTRAINT_MASK = 0x1c;
        /// Must be a reference type.
        const REFERENCE_TYPE_CONSTRAINT = 0x4;
        /// Must be a value type, not Nullable.
        const NOT_NULLABLE_VALUE_TYPE_CONSTRAINT = 0x8;
        /// Must have a public default constructor.
        const DEFAULT_CONSTRUCTOR_CONSTRAINT = 0x10;
        /// May be a byref-like type.
        const ALLOW_BY_REF_LIKE = 0x20;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of an ImplMap row (ECMA-335 II.23.1.8).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PInvokeAttributes: u16 {
        /// Use the name as it is.
        const NO_MANGLE = 0x1;
        /// Mask of the character set values below.
        const CHAR_SET_MASK = 0x6;
        /// Strings are ANSI (UTF-8).
        const CHAR_SET_ANSI = 0x2;
        /// Strings are UTF-16.
        const CHAR_SET_UNICODE = 0x4;
        /// Strings are in the platform's format.
        const CHAR_SET_AUTO = 0x6;
        /// Mask of the best-fit values below.
        const BEST_FIT_MASK = 0x30;
        /// Best-fit mapping on.
        const BEST_FIT_ENABLED = 0x10;
        /// Best-fit mapping off.
        const BEST_FIT_DISABLED = 0x20;
        /// Mask of the unmappable-character values below.
        const THROW_ON_UNMAPPABLE_MASK = 0x3000;
        /// Throw on unmappable characters.
        const THROW_ON_UNMAPPABLE_ENABLED = 0x1000;
        /// Do not throw on unmappable characters.
        const THROW_ON_UNMAPPABLE_DISABLED = 0x2000;
        /// Save the last error after the call.
        const SUPPORTS_LAST_ERROR = 0x40;
        /// Mask of the calling convention values below.
        const CALL_CONV_MASK = 0x700;
        /// The platform's convention.
        const CALL_CONV_WINAPI = 0x100;
        /// C.
        const CALL_CONV_CDECL = 0x200;
        /// Stdcall.
        const CALL_CONV_STDCALL = 0x300;
        /// Thiscall.
        const CALL_CONV_THISCALL = 0x400;
        /// Fastcall.
        const CALL_CONV_FASTCALL = 0x500;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of an event (ECMA-335 II.23.1.4).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct EventAttributes: u16 {
        /// The name is special.
        const SPECIAL_NAME = 0x200;
        /// The runtime gives the name a meaning.
        const RT_SPECIAL_NAME = 0x400;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of a property (ECMA-335 II.23.1.14).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct PropertyAttributes: u16 {
        /// The name is special.
        const SPECIAL_NAME = 0x200;
        /// The runtime gives the name a meaning.
        const RT_SPECIAL_NAME = 0x400;
        /// Has a constant.
        const HAS_DEFAULT = 0x1000;
        const _ = !0;
    }
}

bitflags! {
    /// Role of an accessor (ECMA-335 II.23.1.12).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct MethodSemanticsAttributes: u16 {
        /// Property setter.
        const SETTER = 0x1;
        /// Property getter.
        const GETTER = 0x2;
        /// Other accessor.
        const OTHER = 0x4;
        /// Event adder.
        const ADD_ON = 0x8;
        /// Event remover.
        const REMOVE_ON = 0x10;
        /// Event raiser.
        const FIRE = 0x20;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of an assembly or a reference to one (ECMA-335 II.23.1.2).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct AssemblyFlags: u32 {
        /// The key column holds the whole public key, not its token.
        const PUBLIC_KEY = 0x1;
        /// Another version may be used.
        const RETARGETABLE = 0x100;
        /// Mask of the content type.
        const CONTENT_TYPE_MASK = 0xe00;
        /// Windows Runtime content.
        const CONTENT_TYPE_WINDOWS_RUNTIME = 0x200;
        /// Ask for unoptimised code.
        const DISABLE_JIT_COMPILE_OPTIMIZER = 0x4000;
        /// Ask for debugging information.
        const ENABLE_JIT_COMPILE_TRACKING = 0x8000;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of a File row (ECMA-335 II.23.1.6).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct FileAttributes: u32 {
        /// A resource file.
        const CONTAINS_NO_METADATA = 0x1;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of a resource (ECMA-335 II.23.1.9).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct ManifestResourceAttributes: u32 {
        /// Mask of the visibility values below.
        const VISIBILITY_MASK = 0x7;
        /// Exported.
        const PUBLIC = 0x1;
        /// Not exported.
        const PRIVATE = 0x2;
        const _ = !0;
    }
}

bitflags! {
    /// Flags of the CLI header (ECMA-335 II.25.3.3.1).
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct CorFlags: u32 {
        /// No native code (apart from precompiled code).
        const IL_ONLY = 0x1;
        /// Runs only in a 32-bit process.
        const REQUIRES_32BIT = 0x2;
        /// Has precompiled code and keeps its IL.
        const IL_LIBRARY = 0x4;
        /// Signed.
        const STRONG_NAME_SIGNED = 0x8;
        /// The entry point is an RVA of native code.
        const NATIVE_ENTRY_POINT = 0x10;
        /// Obsolete.
        const TRACK_DEBUG_DATA = 0x10000;
        /// Prefers a 32-bit process.
        const PREFERS_32BIT = 0x20000;
        const _ = !0;
    }
}
