//! `System.Math` and `System.MathF`: the C library's functions, as CoreCLR uses them.

use crate::icall_table;
use std::sync::OnceLock;

unsafe extern "C" {
    safe fn acos(x: f64) -> f64;
    safe fn acosh(x: f64) -> f64;
    safe fn asin(x: f64) -> f64;
    safe fn asinh(x: f64) -> f64;
    safe fn atan(x: f64) -> f64;
    safe fn atanh(x: f64) -> f64;
    safe fn atan2(y: f64, x: f64) -> f64;
    safe fn cbrt(x: f64) -> f64;
    safe fn ceil(x: f64) -> f64;
    safe fn cos(x: f64) -> f64;
    safe fn cosh(x: f64) -> f64;
    safe fn exp(x: f64) -> f64;
    safe fn floor(x: f64) -> f64;
    safe fn fma(x: f64, y: f64, z: f64) -> f64;
    safe fn fmod(x: f64, y: f64) -> f64;
    safe fn log(x: f64) -> f64;
    safe fn log2(x: f64) -> f64;
    safe fn log10(x: f64) -> f64;
    safe fn pow(x: f64, y: f64) -> f64;
    safe fn sin(x: f64) -> f64;
    safe fn sinh(x: f64) -> f64;
    safe fn sqrt(x: f64) -> f64;
    safe fn tan(x: f64) -> f64;
    safe fn tanh(x: f64) -> f64;
    fn modf(x: f64, integral: *mut f64) -> f64;
    safe fn acosf(x: f32) -> f32;
    safe fn acoshf(x: f32) -> f32;
    safe fn asinf(x: f32) -> f32;
    safe fn asinhf(x: f32) -> f32;
    safe fn atanf(x: f32) -> f32;
    safe fn atanhf(x: f32) -> f32;
    safe fn atan2f(y: f32, x: f32) -> f32;
    safe fn cbrtf(x: f32) -> f32;
    safe fn ceilf(x: f32) -> f32;
    safe fn cosf(x: f32) -> f32;
    safe fn coshf(x: f32) -> f32;
    safe fn expf(x: f32) -> f32;
    safe fn floorf(x: f32) -> f32;
    safe fn fmaf(x: f32, y: f32, z: f32) -> f32;
    safe fn fmodf(x: f32, y: f32) -> f32;
    safe fn logf(x: f32) -> f32;
    safe fn log2f(x: f32) -> f32;
    safe fn log10f(x: f32) -> f32;
    safe fn powf(x: f32, y: f32) -> f32;
    safe fn sinf(x: f32) -> f32;
    safe fn sinhf(x: f32) -> f32;
    safe fn sqrtf(x: f32) -> f32;
    safe fn tanf(x: f32) -> f32;
    safe fn tanhf(x: f32) -> f32;
    fn modff(x: f32, integral: *mut f32) -> f32;
}

/// A function of the C library by name: Rust's own runtime contains some of these functions, too, and the linker prefers them,
/// but their last bit may differ.
fn libm<F: Copy>(cell: &OnceLock<usize>, name: &std::ffi::CStr, linked: F) -> F {
    const { assert!(size_of::<F>() == size_of::<usize>()) };
    // SAFETY: a C string; the library is loaded, because other functions of it are imported.
    let found = *cell.get_or_init(|| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) } as usize);
    if found == 0 {
        return linked;
    }
    // SAFETY: F is a function pointer of the type that the C standard gives this name.
    unsafe { std::mem::transmute_copy(&found) }
}

extern "C" fn cube_root(x: f64) -> f64 {
    static CELL: OnceLock<usize> = OnceLock::new();
    libm(&CELL, c"cbrt", cbrt as extern "C" fn(f64) -> f64)(x)
}

extern "C" fn cube_root_f(x: f32) -> f32 {
    static CELL: OnceLock<usize> = OnceLock::new();
    libm(&CELL, c"cbrtf", cbrtf as extern "C" fn(f32) -> f32)(x)
}

unsafe extern "C" fn sin_cos(x: f64, sine: *mut f64, cosine: *mut f64) {
    // SAFETY: managed code passes the addresses of two doubles.
    unsafe {
        *sine = sin(x);
        *cosine = cos(x);
    }
}

unsafe extern "C" fn sin_cos_f(x: f32, sine: *mut f32, cosine: *mut f32) {
    // SAFETY: managed code passes the addresses of two floats.
    unsafe {
        *sine = sinf(x);
        *cosine = cosf(x);
    }
}

/// The remainder of `frem` (ECMA-335 III.3.55).
pub extern "C" fn fmod_f64(x: f64, y: f64) -> f64 {
    fmod(x, y)
}

/// The remainder of `frem` on floats.
pub extern "C" fn fmod_f32(x: f32, y: f32) -> f32 {
    fmodf(x, y)
}

icall_table! {
    /// Math and MathF.
    TABLE:
    "System.Math" {
        "Acos" => acos, "Acosh" => acosh, "Asin" => asin, "Asinh" => asinh, "Atan" => atan, "Atanh" => atanh,
        "Atan2" => atan2, "Cbrt" => cube_root, "Ceiling" => ceil, "Cos" => cos, "Cosh" => cosh, "Exp" => exp, "Floor" => floor,
        "FusedMultiplyAdd" => fma, "Log" => log, "Log2" => log2, "Log10" => log10, "Pow" => pow, "Sin" => sin,
        "Sinh" => sinh, "Sqrt" => sqrt, "Tan" => tan, "Tanh" => tanh, "ModF" => modf, "SinCos" => sin_cos,
        "FMod" => fmod,
    }
    "System.MathF" {
        "Acos" => acosf, "Acosh" => acoshf, "Asin" => asinf, "Asinh" => asinhf, "Atan" => atanf, "Atanh" => atanhf,
        "Atan2" => atan2f, "Cbrt" => cube_root_f, "Ceiling" => ceilf, "Cos" => cosf, "Cosh" => coshf, "Exp" => expf,
        "Floor" => floorf, "FusedMultiplyAdd" => fmaf, "Log" => logf, "Log2" => log2f, "Log10" => log10f, "Pow" => powf,
        "Sin" => sinf, "Sinh" => sinhf, "Sqrt" => sqrtf, "Tan" => tanf, "Tanh" => tanhf, "ModF" => modff,
        "SinCos" => sin_cos_f, "FMod" => fmodf,
    }
}
