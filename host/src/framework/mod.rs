//! The .NET framework: where it may be, which version an application gets, and how it is fetched when there is none.

pub mod discovery;
pub mod provision;
pub mod roll_forward;
pub mod version;

use std::path::{Path, PathBuf};

pub use discovery::Search;
pub use roll_forward::RollForward;
pub use version::Version;

/// The only framework Corten provides.
pub const FRAMEWORK_NAME: &str = "Microsoft.NETCore.App";
/// The file that makes a folder a framework.
pub const CORE_LIBRARY: &str = "System.Private.CoreLib.dll";
/// The engine's contract with System.Private.CoreLib is that of this major and minor version.
pub const SUPPORTED: (u32, u32) = (9, 0);

/// A framework on this machine.
#[derive(Clone, Debug)]
pub struct Framework {
    pub version: Version,
    /// The folder with the assemblies.
    pub dir: PathBuf,
    /// How it was found, for people.
    pub origin: String,
}

impl Framework {
    /// Whether the engine can run on this class library.
    pub fn is_supported(&self) -> bool {
        (self.version.major, self.version.minor) == SUPPORTED
    }
}

/// What an application asks for.
#[derive(Clone, Debug)]
pub struct Request {
    pub version: Version,
    pub policy: RollForward,
    /// Who asks: a runtimeconfig.json, or nobody in particular.
    pub asked_by: Option<PathBuf>,
}

impl Request {
    /// Any version that the engine supports.
    pub fn any() -> Self {
        Request {
            version: Version::new(SUPPORTED.0, SUPPORTED.1, 0),
            policy: RollForward::LatestPatch,
            asked_by: None,
        }
    }

    /// The same without regard to the patch number.
    fn of_any_patch(&self) -> Self {
        let policy = if self.policy == RollForward::Disable {
            RollForward::LatestPatch
        } else {
            self.policy
        };
        Request {
            version: Version::new(self.version.major, self.version.minor, 0),
            policy,
            ..self.clone()
        }
    }
}

/// Whether `dir` holds a class library.
pub fn is_framework_dir(dir: &Path) -> bool {
    dir.join(CORE_LIBRARY).is_file()
}
