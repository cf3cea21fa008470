//! Methods without IL: stubs made by the engine as IR (or a few bytes of machine code) and compiled like any method.

pub mod delegate;
pub mod dispatch;
pub mod gc_transitions;
pub mod marshal;
pub mod marshal_calls;
mod marshal_reverse;
pub mod reverse;
pub mod tail_call;

pub use marshal::pinvoke;

use crate::error::{ExceptionKind, Raise, VmResult};
use crate::jit_host::{method_id, type_id};
use corten_jit::builder::{FuncBuilder, stack_ty};
use corten_jit::host_api::{HostError, Signature};
use corten_jit::ir::Ty;
use corten_loader::MethodDesc;

/// Maps an interface error met while a stub is built.
pub fn host_error(e: HostError) -> Raise {
    match &e {
        HostError::Deferred { cookie, .. } | HostError::AtUse { cookie, .. } => {
            match crate::engine::host().and_then(|h| h.deferred(*cookie)) {
                Some(d) => Raise::New {
                    kind: d.kind,
                    message: d.message,
                    subject: d.subject,
                },
                None => Raise::new(ExceptionKind::TypeLoad, e.to_string()),
            }
        }
        // The class's own text is the one CoreCLR shows.
        HostError::InvalidProgram(_) => Raise::of(ExceptionKind::InvalidProgram),
    }
}

/// A builder with the method's own signature and argument locals.
pub(crate) fn builder_for(md: &'static MethodDesc) -> VmResult<FuncBuilder> {
    let host = crate::engine::compiler_host();
    let info = host.method_info(method_id(md)).map_err(host_error)?;
    let owner = host.type_info(type_id(md.owner().handle())).map_err(host_error)?;
    FuncBuilder::new(
        host,
        md.display_name(),
        Some(method_id(md)),
        info.sig.clone(),
        Some(&owner),
    )
    .map_err(host_error)
}

/// Stack type of the result of a signature.
pub(crate) fn result_ty(sig: &Signature) -> VmResult<Option<Ty>> {
    let info = crate::engine::compiler_host().type_info(sig.ret).map_err(host_error)?;
    Ok(stack_ty(info.kind, sig.ret))
}

/// Code of an internal call: a transition stub in front of the native function.
///
/// # Errors
/// NotImplementedException naming the method if the engine lacks it.
pub fn internal_call(md: &'static MethodDesc) -> VmResult<usize> {
    let class = crate::jit_host::types::definition_name(md.owner().handle());
    let signature = parameter_list(md);
    match crate::icalls::find(&class, md.name(), &signature) {
        Some(function) => {
            let code = crate::asm::internal_call_stub_code(function, md.address());
            let entry = crate::engine::install_stub(&code);
            Ok(crate::helpers::internal_call_front(&class, md.name(), entry).unwrap_or(entry))
        }
        None if !md.module().is_core_library() => Err(Raise::new(
            ExceptionKind::Security,
            "ECall methods must be packaged into a system module.",
        )),
        None => Err(Raise::new(
            ExceptionKind::NotImplemented,
            format!(
                "Internal call {class}::{}{signature} is not implemented by this engine.",
                md.name()
            ),
        )),
    }
}

/// `(int,ref byte)`-like list used to tell overloads of internal calls apart.
fn parameter_list(md: &'static MethodDesc) -> String {
    match md.signature() {
        Ok(s) => {
            let names: Vec<String> = s.params.iter().map(|p| crate::icalls::short_type_name(*p)).collect();
            format!("({})", names.join(","))
        }
        Err(_) => "()".to_string(),
    }
}
