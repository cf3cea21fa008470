//! The engine: threads, stack walking, exception dispatch, prestub, internal calls and QCalls, interop, startup and exit.
//!
//! Reading order: [`startup`] (what a run does) → [`prestub`] and [`engine`] (how a method gets code) → [`jit_host`] (what
//! the compiler is told) → [`helpers`] (what generated code calls) → [`asm`], [`managed`], [`transitions`], [`roots`]
//! (borders between managed and native code, and what the collector sees) → [`exceptions`] → [`icalls`], [`qcalls`]
//! (services of the class library).
#![allow(
    rustdoc::private_intra_doc_links,
    rustdoc::redundant_explicit_links,
    reason = "the documentation is read with private items: this crate is the engine, not a library"
)]
#![allow(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "an ObjPtr argument is a live object by the managed ABI: internal calls and helpers are entered by generated code only"
)]

pub mod asm;
pub mod class_init;
pub mod collectible;
mod default_event_sources;
pub mod engine;
pub mod error;
pub mod exceptions;
pub mod helpers;
pub mod icalls;
pub mod interop;
pub mod jit_all;
pub mod jit_host;
pub mod managed;
pub mod objects;
pub mod peer;
pub mod prestub;
pub mod qcalls;
pub mod reclaim;
pub mod reflection_objects;
pub mod roots;
pub mod startup;
pub mod stats;
pub mod strings;
pub mod stubs;
pub mod thread;
pub mod thread_statics;
pub mod tiering;
pub mod trace_events;
pub mod transitions;
pub mod type_objects;

pub use startup::{RuntimeConfig, StartError, run};
