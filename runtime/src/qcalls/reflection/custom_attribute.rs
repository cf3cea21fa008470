//! QCalls of `System.Reflection.CustomAttribute`: reading attribute blobs (ECMA-335 II.23.3) into objects.

use super::handles::{ObjectHandle, QCallModule, put};
use crate::error::{ExceptionKind, Raise, VmResult, qcall_body};
use crate::icalls::reflection::boxing::primitive_size;
use crate::icalls::reflection::invoke;
use crate::icalls::reflection::support::{
    alloc_object, alloc_sz_array, corelib, ensure_initialized, is_other_instantiation, method_info_arg, object_data,
    object_type, set_element, string_type, table_of, type_arg,
};
use crate::icalls::reflection::type_names;
use crate::qcall_table;
use crate::thread::Thread;
use crate::type_objects::type_object;
use corten_gc_hooks::object::{ObjPtr, array_data};
use corten_gc_hooks::{HandleScope, Local};
use corten_loader::{ElementType, Module, TypeHandle};

/// Serialization type codes beyond the primitive CorElementTypes (II.23.3).
mod code {
    pub const STRING: u8 = 0x0e;
    pub const SZ_ARRAY: u8 = 0x1d;
    pub const TYPE: u8 = 0x50;
    pub const TAGGED_OBJECT: u8 = 0x51;
    pub const FIELD: u8 = 0x53;
    pub const PROPERTY: u8 = 0x54;
    pub const ENUM: u8 = 0x55;
}

fn malformed() -> Raise {
    Raise::of(ExceptionKind::CustomAttributeFormat)
}

/// Type of a value in a blob.
#[derive(Clone, Debug)]
enum BlobType {
    Primitive(ElementType),
    String,
    Type,
    Object,
    Enum(TypeHandle),
    Array(Box<BlobType>),
}

impl BlobType {
    /// From a parameter, field or property type.
    fn of(t: TypeHandle) -> VmResult<BlobType> {
        if t.is_enum() {
            return Ok(BlobType::Enum(t));
        }
        let element = t.cor_element_type();
        if element.is_primitive() {
            return Ok(BlobType::Primitive(element));
        }
        if element == ElementType::SzArray {
            let inner = t.element_type().ok_or_else(malformed)?;
            return Ok(BlobType::Array(Box::new(BlobType::of(inner)?)));
        }
        if t == string_type()? {
            Ok(BlobType::String)
        } else if t == object_type()? {
            Ok(BlobType::Object)
        } else if t == corelib("System", "Type")? {
            Ok(BlobType::Type)
        } else {
            Err(malformed())
        }
    }

    /// The type of an array element or field of this kind.
    fn handle(&self) -> VmResult<TypeHandle> {
        Ok(match self {
            BlobType::Primitive(e) => corelib("System", e.corelib_name().ok_or_else(malformed)?)?,
            BlobType::String => string_type()?,
            BlobType::Type => corelib("System", "Type")?,
            BlobType::Object => object_type()?,
            BlobType::Enum(t) => *t,
            BlobType::Array(inner) => corten_loader::make_array(inner.handle()?, 1, true)?,
        })
    }

    /// Representation of a primitive or enum.
    fn representation(&self) -> Option<ElementType> {
        match self {
            BlobType::Primitive(e) => Some(*e),
            BlobType::Enum(t) => Some(t.internal_element_type()),
            _ => None,
        }
    }
}

/// Reader of an attribute blob.
struct Blob<'a> {
    data: &'a [u8],
    at: usize,
    module: &'static Module,
}

impl<'a> Blob<'a> {
    fn take(&mut self, n: usize) -> VmResult<&'a [u8]> {
        let data: &'a [u8] = self.data;
        let end = self.at.checked_add(n).ok_or_else(malformed)?;
        let bytes = data.get(self.at..end).ok_or_else(malformed)?;
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> VmResult<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> VmResult<u16> {
        let b = self.take(2)?;
        Ok(u16::from_le_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> VmResult<u32> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A counted UTF-8 string; `None` for null.
    fn string(&mut self) -> VmResult<Option<&'a str>> {
        let data: &'a [u8] = self.data;
        let rest = data.get(self.at..).ok_or_else(malformed)?;
        if rest.first() == Some(&0xff) {
            self.at += 1;
            return Ok(None);
        }
        let mut reader = corten_metadata::sig::SigReader::new(rest);
        let length = reader.unsigned().map_err(|_| malformed())? as usize;
        self.at += reader.position();
        std::str::from_utf8(self.take(length)?)
            .map(Some)
            .map_err(|_| malformed())
    }

    /// A type spelled in the blob (named arguments and tagged objects).
    fn ty(&mut self) -> VmResult<BlobType> {
        let kind = self.byte()?;
        Ok(match kind {
            code::STRING => BlobType::String,
            code::TYPE => BlobType::Type,
            code::TAGGED_OBJECT => BlobType::Object,
            code::SZ_ARRAY => BlobType::Array(Box::new(self.ty()?)),
            code::ENUM => {
                let name = self.string()?.ok_or_else(malformed)?;
                BlobType::Enum(type_names::resolve(name, self.module)?.ok_or_else(malformed)?)
            }
            0x02..=0x0d => BlobType::Primitive(primitive(kind).ok_or_else(malformed)?),
            _ => return Err(malformed()),
        })
    }

    /// Reads a value as an object (primitives and enums boxed). May collect.
    fn value(&mut self, thread: &Thread, ty: &BlobType) -> VmResult<ObjPtr> {
        match ty {
            BlobType::Primitive(_) | BlobType::Enum(_) => {
                let element = ty.representation().ok_or_else(malformed)?;
                let bytes = self.take(primitive_size(element))?;
                let boxed = alloc_object(thread, table_of(ty.handle()?)?)?;
                // SAFETY: the box holds a value of that size.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), object_data(boxed), bytes.len()) };
                Ok(boxed)
            }
            BlobType::String => match self.string()? {
                Some(text) => crate::strings::new_string(thread, text),
                None => Ok(std::ptr::null_mut()),
            },
            BlobType::Type => match self.string()? {
                Some(name) => match type_names::resolve(name, self.module)? {
                    Some(t) => Ok(type_object(t)),
                    None => Err(Raise::new(
                        ExceptionKind::TypeLoad,
                        format!("Could not load type '{name}'."),
                    )),
                },
                None => Ok(std::ptr::null_mut()),
            },
            BlobType::Object => {
                let actual = self.ty()?;
                self.value(thread, &actual)
            }
            BlobType::Array(element) => self.array(thread, element),
        }
    }

    fn array(&mut self, thread: &Thread, element: &BlobType) -> VmResult<ObjPtr> {
        let length = self.u32()?;
        if length == u32::MAX {
            return Ok(std::ptr::null_mut());
        }
        let length = length as usize;
        let rest = self.data.len().saturating_sub(self.at);
        if length > rest {
            return Err(malformed());
        }
        let scope = HandleScope::new(&thread.header);
        let array = scope.root(alloc_sz_array(thread, element.handle()?, length)?);
        if let Some(representation) = element.representation() {
            let bytes = self.take(
                primitive_size(representation)
                    .checked_mul(length)
                    .ok_or_else(malformed)?,
            )?;
            // SAFETY: an array of `length` elements of that size.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), array_data(array.get()), bytes.len()) };
            return Ok(array.get());
        }
        for i in 0..length {
            let item = self.value(thread, element)?;
            // SAFETY: the array has that many reference elements.
            unsafe { set_element(array.get(), i, item) };
        }
        Ok(array.get())
    }
}

fn primitive(kind: u8) -> Option<ElementType> {
    ElementType::CORELIB.into_iter().find(|e| *e as u8 == kind)
}

/// First constructor argument of an attribute, if it is a string.
pub fn first_string(blob: &[u8]) -> Option<String> {
    let rest = blob.get(2..)?;
    let mut reader = corten_metadata::sig::SigReader::new(rest);
    let length = reader.unsigned().ok()? as usize;
    let at = reader.position();
    Some(std::str::from_utf8(rest.get(at..at + length)?).ok()?.to_owned())
}

/// The blob between two addresses.
///
/// # Safety
/// They delimit readable memory.
unsafe fn slice<'a>(start: usize, end: usize) -> &'a [u8] {
    if start == 0 || end < start {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(start as *const u8, end - start) }
    }
}

extern "C" fn create_custom_attribute_instance(
    module: QCallModule,
    attribute_type: ObjectHandle,
    ctor: ObjectHandle,
    blob_start: *mut usize,
    blob_end: usize,
    named_count: *mut i32,
    instance: ObjectHandle,
) {
    qcall_body(|thread| {
        let module = module.module()?;
        let owner = table_of(type_arg(attribute_type.get())?)?;
        let mut ctor = method_info_arg(ctor.get())?;
        if is_other_instantiation(owner, ctor.owner()) {
            ctor = ctor.on_owner(owner)?;
        }
        // SAFETY: managed code passes the limits of a blob in mapped metadata.
        let start = unsafe { blob_start.read() };
        // SAFETY: as above.
        let data = unsafe { slice(start, blob_end) };
        let mut blob = Blob { data, at: 0, module };
        if !blob.data.is_empty() && blob.u16()? != 1 {
            return Err(malformed());
        }
        let signature = ctor.signature()?;
        let scope = HandleScope::new(&thread.header);
        let mut arguments: Vec<(Local<'_>, bool)> = Vec::with_capacity(signature.params.len());
        for parameter in &signature.params {
            let ty = BlobType::of(*parameter)?;
            let value = blob.value(thread, &ty)?;
            arguments.push((scope.root(value), ty.representation().is_some()));
        }
        let mut named = 0;
        if blob.at < blob.data.len() {
            named = i32::from(blob.u16()?);
        }
        put(named_count, named);
        put(blob_start, start + blob.at);
        ensure_initialized(owner)?;
        let address = |i: usize| match arguments.get(i) {
            Some((value, true)) => object_data(value.get()),
            Some((value, false)) => value.slot().cast::<u8>(),
            None => std::ptr::null_mut(),
        };
        instance.set(invoke::construct(thread, ctor, &address)?);
        Ok(())
    });
}

extern "C" fn create_property_or_field_data(
    module: QCallModule,
    blob_start: *mut usize,
    blob_end: usize,
    name: ObjectHandle,
    is_property: *mut i32,
    ty: ObjectHandle,
    value: ObjectHandle,
) {
    qcall_body(|thread| {
        let module = module.module()?;
        // SAFETY: managed code passes the limits of a blob in mapped metadata.
        let start = unsafe { blob_start.read() };
        // SAFETY: as above.
        let data = unsafe { slice(start, blob_end) };
        let mut blob = Blob { data, at: 0, module };
        match blob.byte()? {
            code::FIELD => put(is_property, 0),
            code::PROPERTY => put(is_property, 1),
            _ => return Err(malformed()),
        }
        let declared = blob.ty()?;
        let text = blob.string()?.ok_or_else(malformed)?;
        ty.set(type_object(declared.handle()?));
        name.set(crate::strings::new_string(thread, text)?);
        let object = blob.value(thread, &declared)?;
        value.set(object);
        put(blob_start, start + blob.at);
        Ok(())
    });
}

/// The named arguments of `[AttributeUsage]`; no object is made.
fn parse_usage(data: &[u8]) -> Option<(u32, bool, bool)> {
    let targets = u32::from_le_bytes(data.get(2..6)?.try_into().ok()?);
    let (mut allow_multiple, mut inherited) = (false, true);
    let count = u16::from_le_bytes(data.get(6..8)?.try_into().ok()?);
    let mut at = 8;
    for _ in 0..count {
        // PROPERTY, BOOLEAN, counted name, value.
        if data.get(at) != Some(&code::PROPERTY) || data.get(at + 1) != Some(&0x02) {
            return None;
        }
        let length = usize::from(*data.get(at + 2)?);
        let name = data.get(at + 3..at + 3 + length)?;
        let value = *data.get(at + 3 + length)? != 0;
        match name {
            b"AllowMultiple" => allow_multiple = value,
            b"Inherited" => inherited = value,
            _ => return None,
        }
        at += 4 + length;
    }
    Some((targets, allow_multiple, inherited))
}

extern "C" fn parse_attribute_usage(
    data: *const u8,
    length: i32,
    targets: *mut u32,
    allow_multiple: *mut i32,
    inherited: *mut i32,
) -> i32 {
    // SAFETY: managed code passes a blob in mapped metadata.
    let data = unsafe { slice(data as usize, data as usize + length.max(0) as usize) };
    match parse_usage(data) {
        Some((t, a, i)) => {
            put(targets, t);
            put(allow_multiple, i32::from(a));
            put(inherited, i32::from(i));
            1
        }
        None => 0,
    }
}

qcall_table! {
    /// Custom attribute QCalls.
    TABLE:
    "CustomAttribute_CreateCustomAttributeInstance" => create_custom_attribute_instance,
    "CustomAttribute_CreatePropertyOrFieldData" => create_property_or_field_data,
    "CustomAttribute_ParseAttributeUsageAttribute" => parse_attribute_usage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_usage_is_read_with_its_named_arguments() {
        let mut blob = vec![1, 0, 4, 0, 0, 0, 1, 0, 0x54, 0x02, 9];
        blob.extend_from_slice(b"Inherited");
        blob.push(0);
        assert_eq!(parse_usage(&blob), Some((4, false, false)));
        assert_eq!(parse_usage(&[1, 0, 4, 0, 0, 0, 0, 0]), Some((4, false, true)));
        assert_eq!(parse_usage(&[1, 0]), None);
    }

    #[test]
    fn the_first_string_of_an_attribute_is_found() {
        assert_eq!(first_string(&[1, 0, 2, b'h', b'i', 0, 0]).as_deref(), Some("hi"));
        assert_eq!(first_string(&[1]), None);
    }
}
