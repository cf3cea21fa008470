//! `corten`: runs .NET assemblies. This crate finds the framework and the application, builds the list of assemblies the
//! binder may use, and hands the result to the engine. It contains no engine logic.

mod allocator;
mod app;
mod cli;
mod error;
mod framework;
mod inspect;
mod jit_all;
mod output;
mod verify;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    allocator::use_small_pages();
    match cli::main(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("corten: {error}");
            ExitCode::from(error::HOST_FAILURE)
        }
    }
}
