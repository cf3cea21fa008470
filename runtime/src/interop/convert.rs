//! Conversion of one value between its managed and its native form, by [`Marshaler`]. Cooperative mode throughout.

use super::layout::NativeLayout;
use super::marshaler::{ArrayMarshaler, Marshaler};
use super::text::{self, TextKind};
use super::{currency, delegates, handles};
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::thread::Thread;
use corten_gc_hooks::HandleScope;
use corten_gc_hooks::barrier::store_ref;
use corten_gc_hooks::handles::HandleKind;
use corten_gc_hooks::heap::{AllocFlags, Heap};
use corten_gc_hooks::object::{self, ObjPtr};
use corten_loader::MethodTable;

/// Where a managed value is. The address is computed anew for every access, because the collector may move what it is in.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// A slot the collector updates that holds a reference or managed pointer; null: `offset` is an address that never
    /// changes.
    base: *const *mut u8,
    offset: usize,
}

impl Place {
    /// A place on the stack or in native memory.
    pub fn fixed(address: *mut u8) -> Place {
        Place {
            base: std::ptr::null(),
            offset: address as usize,
        }
    }
    /// `offset` bytes after what the reference or managed pointer in `slot` points to.
    pub fn through(slot: *const *mut u8, offset: usize) -> Place {
        Place { base: slot, offset }
    }
    /// The same, further on.
    pub fn at(self, offset: usize) -> Place {
        Place {
            offset: self.offset + offset,
            ..self
        }
    }
    /// Present address.
    pub fn address(self) -> *mut u8 {
        if self.base.is_null() {
            return self.offset as *mut u8;
        }
        // SAFETY: `base` is a live slot by construction.
        unsafe { (*self.base).wrapping_add(self.offset) }
    }
    pub(super) fn read<T: Copy>(self) -> T {
        // SAFETY: a place holds a value of the type its marshaler was chosen for.
        unsafe { self.address().cast::<T>().read_unaligned() }
    }
    fn write<T>(self, value: T) {
        // SAFETY: as above; never used for references.
        unsafe { self.address().cast::<T>().write_unaligned(value) }
    }
    /// The reference there.
    pub fn reference(self) -> ObjPtr {
        self.read()
    }
    /// Stores a reference there, with barrier.
    pub fn set_reference(self, o: ObjPtr) {
        // SAFETY: the place holds a reference; the barrier looks whether it is in the heap.
        unsafe { store_ref(self.address().cast(), o) }
    }
}

/// SafeHandles whose reference count one stub raised: strong handles to them.
pub type Kept = Vec<*mut ObjPtr>;

/// State of the conversions of one call.
pub struct Conversion<'a> {
    pub thread: &'a Thread,
    /// SafeHandles to release after the call.
    pub kept: &'a mut Kept,
    /// Elements of the array being converted: known before (native to managed) or set (managed to native).
    pub count: usize,
    /// Contents go to native code (`[In]`).
    pub copy_in: bool,
}

fn load<T: Copy>(p: *const u8) -> T {
    // SAFETY: callers pass native memory of the size their marshaler asks for.
    unsafe { p.cast::<T>().read_unaligned() }
}
fn save<T>(p: *mut u8, value: T) {
    // SAFETY: as above.
    unsafe { p.cast::<T>().write_unaligned(value) }
}

impl Conversion<'_> {
    /// Managed to native. `native` is zeroed; what was written is valid for [`Self::free`] even after an error.
    ///
    /// # Errors
    /// The exception of the conversion.
    pub fn write_native(&mut self, m: &Marshaler, managed: Place, native: *mut u8) -> VmResult<()> {
        match m {
            Marshaler::Copy { size, .. } => {
                // SAFETY: both sides have `size` bytes; no safepoint between.
                unsafe { std::ptr::copy_nonoverlapping(managed.address(), native, *size as usize) };
            }
            Marshaler::Bool { width } => {
                let set = managed.read::<u8>() != 0;
                match width {
                    1 => save(native, u8::from(set)),
                    _ => save(native, i32::from(set)),
                }
            }
            Marshaler::AnsiChar => save(native, text::ansi_char(managed.read())),
            Marshaler::Text(kind) => {
                let s = managed.reference();
                if !s.is_null() {
                    // SAFETY: a live string; no safepoint while it is converted.
                    save(native, text::to_native(*kind, unsafe { object::string_chars(s) })?);
                }
            }
            Marshaler::FixedText { wide, count } => fixed_text(managed.reference(), *wide, *count as usize, native),
            Marshaler::StringBuilder { wide } => {
                let (buffer, units) = handles::string_builder_to_native(self.thread, managed, *wide, self.copy_in)?;
                self.count = units;
                save(native, buffer);
            }
            Marshaler::FixedArray {
                element,
                element_size,
                count,
                ..
            } => {
                let scope = HandleScope::new(&self.thread.header);
                let array = scope.root(managed.reference());
                if array.is_null() {
                    return Ok(());
                }
                // SAFETY: a live array.
                if (unsafe { object::array_length(array.get()) }) < *count as usize {
                    return Err(Raise::new(
                        ExceptionKind::Argument,
                        "Type could not be marshaled because the length of an embedded array instance does not match the declared length in the layout.",
                    ));
                }
                self.elements_to_native(element, *element_size, array.slot(), native, *count as usize)?;
            }
            Marshaler::Array(a) => self.array_to_native(a, managed, native)?,
            Marshaler::Struct(layout) => self.fields_to_native(layout, managed, native)?,
            Marshaler::EmbeddedClass(layout) => {
                let scope = HandleScope::new(&self.thread.header);
                let object = scope.root(managed.reference());
                if !object.is_null() {
                    self.fields_to_native(layout, Place::through(object.slot().cast(), 8), native)?;
                }
            }
            Marshaler::LayoutClass(layout) => {
                let scope = HandleScope::new(&self.thread.header);
                let object = scope.root(managed.reference());
                if !object.is_null() {
                    let block = text::allocate(layout.size as usize)?;
                    save(native, block);
                    if self.copy_in {
                        self.fields_to_native(layout, Place::through(object.slot().cast(), 8), block)?;
                    }
                }
            }
            Marshaler::PointerTo { layout } => {
                let block = text::allocate(layout.native_size() as usize)?;
                save(native, block);
                self.write_native(layout, managed, block)?;
            }
            Marshaler::Delegate(_) => save(native, delegates::function_pointer(self.thread, managed)?),
            Marshaler::SafeHandle(_) => {
                let value = handles::add_ref(self.thread, managed)?;
                self.kept
                    .push(Heap::get().handles().alloc(HandleKind::Strong, managed.reference()));
                save(native, value);
            }
            Marshaler::CriticalHandle(_) => save(native, handles::critical_value(managed)?),
            Marshaler::HandleRef { offset } => save(native, managed.at(*offset as usize).read::<usize>()),
            Marshaler::Date => save(native, ole_date(managed.read::<u64>())),
            Marshaler::Currency => save(native, currency::from_decimal(managed)?),
            Marshaler::Illegal(why) => return Err(Raise::new(ExceptionKind::TypeLoad, why.to_string())),
            Marshaler::Custom(c) => {
                let scope = HandleScope::new(&self.thread.header);
                let object = scope.root(managed.reference());
                let value = c.to_native(self.thread, object.slot())?;
                save(native, value);
            }
        }
        Ok(())
    }

    /// Native to managed, as a new value.
    ///
    /// # Errors
    /// The exception of the conversion.
    pub fn write_managed(&mut self, m: &Marshaler, native: *const u8, managed: Place) -> VmResult<()> {
        match m {
            Marshaler::Copy { size, .. } => {
                // SAFETY: both sides have `size` bytes and hold no references.
                unsafe { std::ptr::copy_nonoverlapping(native, managed.address(), *size as usize) };
            }
            Marshaler::Bool { width } => {
                let set = match width {
                    1 => load::<u8>(native) != 0,
                    _ => load::<u32>(native) != 0,
                };
                managed.write(u8::from(set));
            }
            Marshaler::AnsiChar => managed.write(text::wide_char(load(native))),
            Marshaler::Text(kind) => {
                // SAFETY: native code gives a string of that kind or null.
                let s = match unsafe { text::read(*kind, load(native)) } {
                    Some(units) => crate::strings::new_string_utf16(self.thread, &units)?,
                    None => std::ptr::null_mut(),
                };
                managed.set_reference(s);
            }
            Marshaler::FixedText { wide, count } => {
                let units = read_fixed_text(*wide, *count as usize, native);
                let s = crate::strings::new_string_utf16(self.thread, &units)?;
                managed.set_reference(s);
            }
            Marshaler::StringBuilder { wide } => {
                let kind = if *wide { TextKind::Wide } else { TextKind::Utf8 };
                // SAFETY: native code gives a string of that kind or null.
                let builder = match unsafe { text::read(kind, load(native)) } {
                    Some(units) => handles::new_string_builder(self.thread, &units)?,
                    None => std::ptr::null_mut(),
                };
                managed.set_reference(builder);
            }
            Marshaler::FixedArray {
                array,
                element,
                element_size,
                count,
            } => {
                let scope = HandleScope::new(&self.thread.header);
                let new = scope.root(new_array(self.thread, array, *count as usize)?);
                self.elements_to_managed(element, *element_size, native, new.slot(), *count as usize)?;
                managed.set_reference(new.get());
            }
            Marshaler::Array(a) => {
                let data: *const u8 = load(native);
                if data.is_null() {
                    managed.set_reference(std::ptr::null_mut());
                } else {
                    let scope = HandleScope::new(&self.thread.header);
                    let count = self.count;
                    let new = scope.root(new_array(self.thread, a.array, count)?);
                    self.elements_to_managed(&a.element, a.managed_size, data, new.slot(), count)?;
                    managed.set_reference(new.get());
                }
            }
            Marshaler::Struct(layout) => self.fields_to_managed(layout, native, managed)?,
            Marshaler::EmbeddedClass(layout) => self.new_layout_object(layout, native, managed)?,
            Marshaler::LayoutClass(layout) => {
                let block: *const u8 = load(native);
                if block.is_null() {
                    managed.set_reference(std::ptr::null_mut());
                } else {
                    self.new_layout_object(layout, block, managed)?;
                }
            }
            Marshaler::PointerTo { layout } => {
                let block: *const u8 = load(native);
                if block.is_null() {
                    return Err(Raise::of(ExceptionKind::NullReference));
                }
                self.write_managed(layout, block, managed)?;
            }
            Marshaler::Delegate(mt) => {
                let d = delegates::from_function_pointer(self.thread, load(native), mt)?;
                managed.set_reference(d);
            }
            Marshaler::SafeHandle(mt) | Marshaler::CriticalHandle(mt) => {
                let h = handles::new_handle(self.thread, mt, load(native))?;
                managed.set_reference(h);
            }
            Marshaler::HandleRef { .. } => {
                return Err(super::marshal_error("HandleRef cannot be marshaled from native code."));
            }
            Marshaler::Date => managed.write(from_ole_date(load(native))?),
            Marshaler::Currency => managed.write(currency::to_decimal(load(native))),
            Marshaler::Illegal(why) => return Err(Raise::new(ExceptionKind::TypeLoad, why.to_string())),
            Marshaler::Custom(c) => {
                let o = c.to_managed(self.thread, load(native))?;
                managed.set_reference(o);
            }
        }
        Ok(())
    }

    /// After the call: native contents back into the object that was passed by value (`[Out]`).
    ///
    /// # Errors
    /// The exception of the conversion.
    pub fn copy_back(&mut self, m: &Marshaler, native: *const u8, managed: Place) -> VmResult<()> {
        let block: *const u8 = match m {
            Marshaler::Array(_) | Marshaler::LayoutClass(_) | Marshaler::StringBuilder { .. } => load(native),
            _ => return Ok(()),
        };
        if block.is_null() {
            return Ok(());
        }
        let scope = HandleScope::new(&self.thread.header);
        let object = scope.root(managed.reference());
        if object.is_null() {
            return Ok(());
        }
        match m {
            Marshaler::Array(a) => {
                // SAFETY: a live array.
                let count = unsafe { object::array_length(object.get()) };
                self.elements_to_managed(&a.element, a.managed_size, block, object.slot(), count)
            }
            Marshaler::LayoutClass(layout) => {
                self.fields_to_managed(layout, block, Place::through(object.slot().cast(), 8))
            }
            Marshaler::StringBuilder { wide } => {
                handles::string_builder_from_native(self.thread, object, block, *wide, self.count)
            }
            _ => Ok(()),
        }
    }

    /// Contents of an object that a callback got by value back into the native original (`[Out]`).
    ///
    /// # Errors
    /// The exception of the conversion.
    pub fn contents_to_native(&mut self, m: &Marshaler, managed: Place, block: *mut u8) -> VmResult<()> {
        let scope = HandleScope::new(&self.thread.header);
        let object = scope.root(managed.reference());
        if object.is_null() {
            return Ok(());
        }
        match m {
            Marshaler::Array(a) => {
                // SAFETY: a live array.
                let count = unsafe { object::array_length(object.get()) };
                self.elements_to_native(&a.element, a.managed_size, object.slot(), block, count)
            }
            Marshaler::LayoutClass(layout) => {
                self.fields_to_native(layout, Place::through(object.slot().cast(), 8), block)
            }
            Marshaler::StringBuilder { wide } => handles::string_builder_contents(self.thread, object, block, *wide),
            _ => Ok(()),
        }
    }

    /// Frees what a native value owns.
    pub fn free(&mut self, m: &Marshaler, native: *mut u8) {
        match m {
            Marshaler::Text(kind) => {
                // SAFETY: made by `to_native`, or by native code that gives it away.
                unsafe { text::free_text(*kind, load(native)) };
                save(native, 0usize);
            }
            Marshaler::FixedArray { element, count, .. } => self.free_elements(element, native, *count as usize),
            Marshaler::Array(a) => {
                let data: *mut u8 = load(native);
                if !data.is_null() {
                    self.free_elements(&a.element, data, self.count);
                    // SAFETY: as above.
                    unsafe { text::free(data) };
                    save(native, 0usize);
                }
            }
            Marshaler::Struct(layout) | Marshaler::EmbeddedClass(layout) => self.free_fields(layout, native),
            Marshaler::LayoutClass(layout) => {
                let block: *mut u8 = load(native);
                if !block.is_null() {
                    self.free_fields(layout, block);
                    // SAFETY: as above.
                    unsafe { text::free(block) };
                    save(native, 0usize);
                }
            }
            Marshaler::PointerTo { .. } | Marshaler::StringBuilder { .. } => {
                // SAFETY: as above.
                unsafe { text::free(load(native)) };
                save(native, 0usize);
            }
            // An exception of the cleanup is lost, like one of a finalizer on the way out.
            Marshaler::Custom(c) if c.clean_native(self.thread, load(native)).is_err() => {
                self.thread.header.pending_exception.set(std::ptr::null_mut());
            }
            _ => {}
        }
    }

    /// Every field of a structure to native.
    ///
    /// # Errors
    /// The exception of the first field that cannot be converted.
    pub fn fields_to_native(&mut self, layout: &'static NativeLayout, managed: Place, native: *mut u8) -> VmResult<()> {
        for f in &layout.fields {
            // SAFETY: the field lies in the structure's native form.
            let at = unsafe { native.add(f.native_offset as usize) };
            self.write_native(&f.marshaler, managed.at(f.managed_offset as usize), at)?;
        }
        Ok(())
    }

    /// Every field of a structure to managed.
    ///
    /// # Errors
    /// The exception of the first field that cannot be converted.
    pub fn fields_to_managed(
        &mut self,
        layout: &'static NativeLayout,
        native: *const u8,
        managed: Place,
    ) -> VmResult<()> {
        for f in &layout.fields {
            // SAFETY: as above.
            let at = unsafe { native.add(f.native_offset as usize) };
            self.write_managed(&f.marshaler, at, managed.at(f.managed_offset as usize))?;
        }
        Ok(())
    }

    /// Frees what the fields of a native structure own.
    pub fn free_fields(&mut self, layout: &'static NativeLayout, native: *mut u8) {
        for f in &layout.fields {
            // SAFETY: as above.
            self.free(&f.marshaler, unsafe { native.add(f.native_offset as usize) });
        }
    }

    fn new_layout_object(&mut self, layout: &'static NativeLayout, native: *const u8, managed: Place) -> VmResult<()> {
        let scope = HandleScope::new(&self.thread.header);
        let object = scope.root(Heap::get().alloc_object(&self.thread.header, layout.ty.as_gc_ptr())?);
        self.fields_to_managed(layout, native, Place::through(object.slot().cast(), 8))?;
        managed.set_reference(object.get());
        Ok(())
    }

    fn array_to_native(&mut self, a: &ArrayMarshaler, managed: Place, native: *mut u8) -> VmResult<()> {
        let scope = HandleScope::new(&self.thread.header);
        let array = scope.root(managed.reference());
        if array.is_null() {
            self.count = 0;
            return Ok(());
        }
        // SAFETY: a live array.
        let count = unsafe { object::array_length(array.get()) };
        self.count = count;
        if let Marshaler::AnsiChar = *a.element {
            return self.ansi_characters(array.get(), count, native);
        }
        let block = text::allocate(count.saturating_mul(a.native_size as usize))?;
        save(native, block);
        if self.copy_in {
            self.elements_to_native(&a.element, a.managed_size, array.slot(), block, count)?;
        }
        Ok(())
    }

    /// An array of characters as UTF-8: a character may take more than one byte.
    fn ansi_characters(&mut self, array: ObjPtr, count: usize, native: *mut u8) -> VmResult<()> {
        const LONGEST: usize = 3;
        let block = text::allocate(count.saturating_mul(LONGEST))?;
        save(native, block);
        if self.copy_in {
            let mt = crate::objects::method_table_of(array);
            // SAFETY: a live array of `count` characters; the block has room for all of them.
            unsafe {
                let units = array.cast::<u8>().add(mt.base_size() as usize - 8).cast::<u16>();
                let bytes = text::utf8(std::slice::from_raw_parts(units, count));
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), block, bytes.len());
            }
        }
        Ok(())
    }

    fn elements_to_native(
        &mut self,
        e: &Marshaler,
        managed_size: u32,
        array: *mut ObjPtr,
        native: *mut u8,
        count: usize,
    ) -> VmResult<()> {
        let data = data_offset(array);
        let stride = e.native_size() as usize;
        for i in 0..count {
            // SAFETY: `native` has room for `count` elements.
            let at = unsafe { native.add(i * stride) };
            self.write_native(e, Place::through(array.cast(), data + i * managed_size as usize), at)?;
        }
        Ok(())
    }

    fn elements_to_managed(
        &mut self,
        e: &Marshaler,
        managed_size: u32,
        native: *const u8,
        array: *mut ObjPtr,
        count: usize,
    ) -> VmResult<()> {
        let data = data_offset(array);
        let stride = e.native_size() as usize;
        for i in 0..count {
            // SAFETY: native code promises `count` elements.
            let at = unsafe { native.add(i * stride) };
            self.write_managed(e, at, Place::through(array.cast(), data + i * managed_size as usize))?;
        }
        Ok(())
    }

    fn free_elements(&mut self, e: &Marshaler, native: *mut u8, count: usize) {
        if e.is_blittable() {
            return;
        }
        for i in 0..count {
            // SAFETY: as above.
            self.free(e, unsafe { native.add(i * e.native_size() as usize) });
        }
    }

    /// Gives back the references on SafeHandles.
    ///
    /// # Errors
    /// What `ReleaseHandle` raised last; all are released.
    pub fn release_kept(&mut self) -> VmResult<()> {
        let mut result = Ok(());
        while let Some(handle) = self.kept.pop() {
            // SAFETY: a strong handle of this conversion.
            let r = handles::release(unsafe { Heap::get().handles().get(handle) });
            // SAFETY: not used any more.
            unsafe { Heap::get().handles().free(handle) };
            if r.is_err() {
                result = r;
            }
        }
        result
    }
}

/// Offset of the first element in the array that `slot` holds.
fn data_offset(slot: *mut ObjPtr) -> usize {
    // SAFETY: a rooted, non-null array.
    let mt = crate::objects::method_table_of(unsafe { *slot });
    mt.base_size() as usize - 8
}

fn new_array(thread: &Thread, array: &'static MethodTable, length: usize) -> VmResult<ObjPtr> {
    Ok(Heap::get().alloc_array(&thread.header, array.as_gc_ptr(), length, AllocFlags::empty())?)
}

fn fixed_text(s: ObjPtr, wide: bool, count: usize, native: *mut u8) {
    if s.is_null() || count == 0 {
        return;
    }
    // SAFETY: a live string; no safepoint in this function. The native side has room for `count` characters.
    unsafe {
        let units = object::string_chars(s);
        if wide {
            let n = units.len().min(count - 1);
            std::ptr::copy_nonoverlapping(units.as_ptr().cast::<u8>(), native, n * 2);
            save(native.add(n * 2), 0u16);
        } else {
            let bytes = text::utf8(units);
            let n = bytes.len().min(count - 1);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), native, n);
            save(native.add(n), 0u8);
        }
    }
}

fn read_fixed_text(wide: bool, count: usize, native: *const u8) -> Vec<u16> {
    if wide {
        // SAFETY: the native side has `count` characters.
        (0..count)
            .map(|i| load::<u16>(unsafe { native.add(2 * i) }))
            .take_while(|u| *u != 0)
            .collect()
    } else {
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(native, count) };
        text::utf16(bytes.split(|b| *b == 0).next().unwrap_or_default())
    }
}

/// Whether a text kind can be passed by pinning the string itself.
pub fn can_pin(kind: TextKind) -> bool {
    kind == TextKind::Wide
}

const TICKS_PER_MS: i64 = 10_000;
const MS_PER_DAY: i64 = 86_400_000;
/// 1899-12-30.
const OLE_EPOCH_TICKS: i64 = 599_264_352_000_000_000;

/// OLE automation date of a DateTime's data word.
fn ole_date(data: u64) -> f64 {
    let ticks = (data & 0x3FFF_FFFF_FFFF_FFFF) as i64;
    if ticks == 0 {
        return 0.0;
    }
    let ticks = if ticks < MS_PER_DAY * TICKS_PER_MS {
        ticks + OLE_EPOCH_TICKS
    } else {
        ticks
    };
    let mut ms = (ticks - OLE_EPOCH_TICKS) / TICKS_PER_MS;
    if ms < 0 {
        let fraction = ms % MS_PER_DAY;
        if fraction != 0 {
            ms -= (MS_PER_DAY + fraction) * 2;
        }
    }
    ms as f64 / MS_PER_DAY as f64
}

/// Ticks of an OLE automation date.
fn from_ole_date(date: f64) -> VmResult<u64> {
    if !(date < 2_958_466.0 && date > -657_435.0) {
        return Err(Raise::new(ExceptionKind::Argument, "Not a legal OleAut date."));
    }
    let mut ms = (date * MS_PER_DAY as f64 + if date >= 0.0 { 0.5 } else { -0.5 }) as i64;
    if ms < 0 {
        ms -= (ms % MS_PER_DAY) * 2;
    }
    Ok((ms * TICKS_PER_MS + OLE_EPOCH_TICKS) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ole_dates() {
        // 2000-01-01 is day 36526.
        let ticks = OLE_EPOCH_TICKS + 36_526 * MS_PER_DAY * TICKS_PER_MS;
        assert_eq!(ole_date(ticks as u64), 36_526.0);
        assert_eq!(from_ole_date(36_526.0).unwrap(), ticks as u64);
        assert_eq!(
            from_ole_date(ole_date((OLE_EPOCH_TICKS - MS_PER_DAY * TICKS_PER_MS / 4) as u64)).unwrap() as i64,
            OLE_EPOCH_TICKS - MS_PER_DAY * TICKS_PER_MS / 4
        );
        assert!(from_ole_date(f64::NAN).is_err());
    }

    #[test]
    fn fixed_text_is_cut_at_the_terminator() {
        let wide = [97u16, 98, 0, 99];
        assert_eq!(read_fixed_text(true, 4, wide.as_ptr().cast()), [97, 98]);
        assert_eq!(read_fixed_text(false, 3, b"xyz".as_ptr()), [120, 121, 122]);
    }
}
