//! The switches of tiered compilation, with CoreCLR's names and defaults.

use std::time::Duration;

/// What decides when a method is compiled again. Durations of zero and a threshold of 1 are legal (stress).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// `DOTNET_TieredCompilation`: is there more than one tier?
    pub enabled: bool,
    /// `DOTNET_TC_QuickJit`: are methods first compiled at Tier 0?
    pub quick_jit: bool,
    /// `DOTNET_TC_QuickJitForLoops`: methods with loops too?
    pub quick_jit_for_loops: bool,
    /// `DOTNET_TC_CallCountThreshold`: calls of Tier-0 code before the method is queued; at least 1.
    pub call_count_threshold: u32,
    /// `DOTNET_TC_CallCountingDelayMs`: time without new Tier-0 code before anything is promoted.
    pub quiet_period: Duration,
    /// `DOTNET_TC_BackgroundWorkerTimeoutMs`: how long an idle background thread waits before it ends.
    pub worker_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            quick_jit: true,
            quick_jit_for_loops: true,
            call_count_threshold: 30,
            quiet_period: Duration::from_millis(100),
            worker_timeout: Duration::from_millis(4000),
        }
    }
}

impl Config {
    /// Reads the switches through `variable` (name to value). Values are hexadecimal, as all numeric `DOTNET_` variables
    /// are; a value that is no number counts as absent.
    ///
    /// ```
    /// let c = corten_tiering::Config::read(|name| (name == "DOTNET_TC_CallCountThreshold").then(|| "1E".into()));
    /// assert_eq!(c.call_count_threshold, 30);
    /// ```
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str, default: u32| {
            variable(name)
                .and_then(|text| {
                    let text = text.trim();
                    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
                    u32::from_str_radix(digits.unwrap_or(text), 16).ok()
                })
                .unwrap_or(default)
        };
        let millis = |name: &str, default: Duration| {
            Duration::from_millis(u64::from(number(name, u32::try_from(default.as_millis()).unwrap_or(0))))
        };
        let d = Config::default();
        Config {
            enabled: number("DOTNET_TieredCompilation", 1) != 0,
            quick_jit: number("DOTNET_TC_QuickJit", 1) != 0,
            quick_jit_for_loops: number("DOTNET_TC_QuickJitForLoops", 1) != 0,
            call_count_threshold: number("DOTNET_TC_CallCountThreshold", d.call_count_threshold).max(1),
            quiet_period: millis("DOTNET_TC_CallCountingDelayMs", d.quiet_period),
            worker_timeout: millis("DOTNET_TC_BackgroundWorkerTimeoutMs", d.worker_timeout),
        }
    }
}
