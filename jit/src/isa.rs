//! The Cranelift targets that all compiler threads share.

use crate::host_api::CpuFeatures;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use std::sync::Arc;

/// How much effort is spent on a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Tier {
    /// No optimisation.
    Tier0,
    /// Cranelift's optimiser.
    Tier1,
}

/// Why the code generator cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum IsaError {
    /// Cranelift has no code generator for this machine.
    #[error("no code generator for this machine: {0}")]
    Unsupported(String),
    /// A setting was refused.
    #[error("code generator setting: {0}")]
    Setting(String),
}

/// The code generators.
#[derive(Clone)]
pub struct Targets {
    /// [`Tier::Tier0`]: half the compile time, twice the code.
    tier0: Arc<dyn isa::TargetIsa>,
    /// [`Tier::Tier1`].
    tier1: Arc<dyn isa::TargetIsa>,
}

/// Which allocator gives values their registers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allocator {
    SinglePass,
    Backtracking,
}

impl Targets {
    /// Makes the code generators for the instruction sets of `cpu`.
    pub fn new(cpu: CpuFeatures) -> Result<Self, IsaError> {
        Ok(Targets {
            tier0: make(cpu, Tier::Tier0, Allocator::SinglePass)?,
            tier1: make(cpu, Tier::Tier1, Allocator::Backtracking)?,
        })
    }

    /// The code generator of a tier.
    pub fn of(&self, tier: Tier) -> &dyn isa::TargetIsa {
        match tier {
            Tier::Tier0 => &*self.tier0,
            Tier::Tier1 => &*self.tier1,
        }
    }
}

fn make(cpu: CpuFeatures, tier: Tier, allocator: Allocator) -> Result<OwnedTargetIsa, IsaError> {
    let err = |e: settings::SetError| IsaError::Setting(e.to_string());
    let mut flags = settings::builder();
    for (name, value) in [
        ("is_pic", "false"),
        ("enable_pinned_reg", "true"),
        ("preserve_frame_pointers", "true"),
        ("unwind_info", "true"),
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        // The code heap makes veneers for targets that are too far away.
        ("use_colocated_libcalls", "true"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("opt_level", if tier == Tier::Tier0 { "none" } else { "speed" }),
        (
            "regalloc_algorithm",
            match allocator {
                Allocator::SinglePass => "single_pass",
                Allocator::Backtracking => "backtracking",
            },
        ),
    ] {
        flags.set(name, value).map_err(err)?;
    }
    // Experiments: CORTEN_JIT_TIER0="regalloc_algorithm=backtracking" (Cranelift's shared settings).
    let knob = if tier == Tier::Tier0 {
        "CORTEN_JIT_TIER0"
    } else {
        "CORTEN_JIT_TIER1"
    };
    if let Ok(list) = std::env::var(knob) {
        for setting in list.split(',').filter(|s| !s.is_empty()) {
            let (name, value) = setting.split_once('=').unwrap_or((setting, "true"));
            flags.set(name, value).map_err(err)?;
        }
    }
    let mut builder =
        isa::lookup_by_name("x86_64-unknown-linux-gnu").map_err(|e| IsaError::Unsupported(e.to_string()))?;
    // Code may only use what R2R fixups and intrinsics also assume (see `CpuFeatures`).
    if cpu.x64_v2 {
        for name in [
            "has_sse3",
            "has_ssse3",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
            "has_cmpxchg16b",
        ] {
            builder.enable(name).map_err(err)?;
        }
    }
    for (on, name) in [
        (cpu.lzcnt, "has_lzcnt"),
        (cpu.bmi1, "has_bmi1"),
        (cpu.bmi2, "has_bmi2"),
        (cpu.fma, "has_fma"),
        (cpu.avx, "has_avx"),
        (cpu.avx2, "has_avx2"),
    ] {
        if on {
            builder.enable(name).map_err(err)?;
        }
    }
    builder
        .finish(settings::Flags::new(flags))
        .map_err(|e| IsaError::Unsupported(e.to_string()))
}
