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
    /// `DOTNET_TC_CallCounting`: are calls of Tier-0 code counted at all? Otherwise nothing is promoted.
    pub call_counting: bool,
    /// `DOTNET_TC_CallCountThreshold`: calls of Tier-0 code before the method is queued; at least 1.
    pub call_count_threshold: u32,
    /// `DOTNET_TC_CallCountingDelayMs`: time without new Tier-0 code before anything is promoted.
    pub quiet_period: Duration,
    /// `DOTNET_TC_BackgroundWorkerTimeoutMs`: how long an idle background thread waits before it ends.
    pub worker_timeout: Duration,
    /// `DOTNET_TieredPGO`: does Tier-0 code collect profiles?
    pub profiles: bool,
    /// `DOTNET_TieredPGO_InstrumentOnlyHotCode`: is a profile collected only from methods that were called often (and from
    /// those with loops)? Otherwise all Tier-0 code collects one.
    pub instrument_only_hot_code: bool,
    /// `DOTNET_TC_OnStackReplacement`: are long loops replaced while they run?
    pub on_stack_replacement: bool,
    /// `DOTNET_TC_OnStackReplacement_InitialCounter`: loop iterations of a frame before its patchpoint first asks the engine.
    pub patchpoint_counter: u32,
    /// `DOTNET_OSR_CounterBump`: iterations before it asks again.
    pub patchpoint_bump: u32,
    /// `DOTNET_OSR_HitLimit`: how often a patchpoint asks before its loop is compiled.
    pub patchpoint_hits: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            quick_jit: true,
            quick_jit_for_loops: true,
            call_counting: true,
            call_count_threshold: 30,
            quiet_period: Duration::from_millis(100),
            worker_timeout: Duration::from_millis(4000),
            profiles: true,
            instrument_only_hot_code: true,
            on_stack_replacement: true,
            patchpoint_counter: 1000,
            patchpoint_bump: 1000,
            patchpoint_hits: 10,
        }
    }
}

impl Config {
    /// How many more calls make a method hot that waits for its promotion.
    pub fn hot_calls(&self) -> u32 {
        self.call_count_threshold.saturating_mul(100)
    }

    /// The same of a method whose calls are to be profiled: a profile of a quiet program is better, until waiting costs more.
    pub fn very_hot_calls(&self) -> u32 {
        self.call_count_threshold.saturating_mul(1000)
    }

    /// Reads the switches through `variable` (name of an environment variable to its value) and `property` (of
    /// `runtimeconfig.json`). Variables go first. Their values are hexadecimal, as all numeric `DOTNET_` variables are; a
    /// value that is no number counts as absent.
    ///
    /// ```
    /// let c = corten_tiering::Config::read(
    ///     |name| (name == "DOTNET_TC_CallCountThreshold").then(|| "1E".into()),
    ///     |name| (name == "System.Runtime.TieredPGO").then(|| "false".into()),
    /// );
    /// assert_eq!((c.call_count_threshold, c.profiles), (30, false));
    /// ```
    pub fn read(variable: impl Fn(&str) -> Option<String>, property: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| {
            let text = variable(&format!("DOTNET_{name}"))?;
            let text = text.trim();
            let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
            u32::from_str_radix(digits.unwrap_or(text), 16).ok()
        };
        let number = |name: &str, default: u32| given(name).unwrap_or(default);
        let millis =
            |name: &str, default: Duration| given(name).map_or(default, |n| Duration::from_millis(u64::from(n)));
        let switch = |name: &str, setting: &str, default: bool| {
            given(name).map(|n| n != 0).unwrap_or_else(|| {
                match property(&format!("System.Runtime.{setting}")).as_deref().map(str::trim) {
                    Some(text) if text.eq_ignore_ascii_case("true") || text == "1" => true,
                    Some(text) if text.eq_ignore_ascii_case("false") || text == "0" => false,
                    _ => default,
                }
            })
        };
        let d = Config::default();
        Config {
            enabled: switch("TieredCompilation", "TieredCompilation", d.enabled),
            quick_jit: switch("TC_QuickJit", "TieredCompilation.QuickJit", d.quick_jit),
            quick_jit_for_loops: switch(
                "TC_QuickJitForLoops",
                "TieredCompilation.QuickJitForLoops",
                d.quick_jit_for_loops,
            ),
            call_counting: number("TC_CallCounting", 1) != 0,
            call_count_threshold: number("TC_CallCountThreshold", d.call_count_threshold).max(1),
            quiet_period: millis("TC_CallCountingDelayMs", d.quiet_period),
            worker_timeout: millis("TC_BackgroundWorkerTimeoutMs", d.worker_timeout),
            profiles: switch("TieredPGO", "TieredPGO", d.profiles),
            instrument_only_hot_code: number("TieredPGO_InstrumentOnlyHotCode", 1) != 0,
            on_stack_replacement: number("TC_OnStackReplacement", 1) != 0,
            patchpoint_counter: number("TC_OnStackReplacement_InitialCounter", d.patchpoint_counter).max(1),
            patchpoint_bump: number("OSR_CounterBump", d.patchpoint_bump).max(1),
            patchpoint_hits: number("OSR_HitLimit", d.patchpoint_hits).max(1),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn variables_go_before_properties() {
        let property = |name: &str| (name == "System.Runtime.TieredCompilation").then(|| "false".to_string());
        assert!(!Config::read(|_| None, property).enabled);
        let on = |name: &str| (name == "DOTNET_TieredCompilation").then(|| "1".to_string());
        assert!(Config::read(on, property).enabled);
        let nonsense = |name: &str| (name == "DOTNET_TieredCompilation").then(|| "yes".to_string());
        assert_eq!(Config::read(nonsense, |_| None), Config::default());
    }
}
