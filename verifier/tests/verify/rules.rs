//! Our own modules with verdicts in their names, and what a finding says.

use corten_metadata::{Module, TableId};
use corten_verifier::{Code, Filter, Options, Universe, UniverseError, Verifier, verify};

use crate::support::{fixtures, framework, judge, universe};

#[test]
fn rules_are_judged_as_their_names_say() {
    let Some(framework) = framework() else { return };
    for (name, at_least) in [
        ("rules.dll", 50),
        ("friend.dll", 4),
        ("stranger.dll", 4),
        ("ignorer.dll", 1),
    ] {
        let (judged, wrong) = judge(&fixtures().join(name), &framework);
        assert!(judged >= at_least, "only {judged} verdicts in {name}");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn safe_code_of_a_compiler_verifies() {
    let Some(framework) = framework() else { return };
    let universe = universe(&fixtures().join("safe.dll"), &framework);
    let report = verify(&universe, &Options::default());
    assert!(report.methods > 30 && report.types > 10, "{report:?}");
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_finding_says_where_and_what() {
    let Some(framework) = framework() else { return };
    let universe = universe(&fixtures().join("rules.dll"), &framework);
    let mut filter = Filter::new();
    filter.include(r"^\[rules\]Rules\.LongForInt").expect("a pattern");
    let options = Options {
        filter,
        ..Options::default()
    };
    let report = verify(&universe, &options);
    assert_eq!((report.methods, report.types, report.findings.len()), (1, 0, 1));
    let text = report.findings[0].to_string();
    assert_eq!(
        text,
        "[StackUnexpected] rules Rules::LongForInt_Invalid_StackUnexpected +0x0001: found int64 expected int32"
    );
}

#[test]
fn codes_can_be_left_out_and_threads_do_not_matter() {
    let Some(framework) = framework() else { return };
    let universe = universe(&fixtures().join("rules.dll"), &framework);
    let all = verify(&universe, &Options::default()).findings;
    let threads = std::num::NonZeroUsize::new(1);
    assert_eq!(
        all,
        verify(
            &universe,
            &Options {
                threads,
                ..Options::default()
            }
        )
        .findings
    );
    let mut filter = Filter::new();
    filter.ignore(Code::StackUnexpected);
    let rest = verify(
        &universe,
        &Options {
            filter,
            ..Options::default()
        },
    )
    .findings;
    assert!(rest.len() < all.len() && rest.iter().all(|f| f.code != Code::StackUnexpected));
}

#[test]
fn single_methods_can_be_asked_for() {
    let Some(framework) = framework() else { return };
    let universe = universe(&fixtures().join("rules.dll"), &framework);
    let input = universe.inputs().next().expect("an input");
    let mut verifier = Verifier::new(&universe);
    let rows = 1..=universe.module(input).row_count(TableId::MethodDef);
    let found: usize = rows.map(|rid| verifier.verify_method(input, rid).len()).sum();
    assert!(found > 20);
    assert!(verifier.verify_method(input, 1 << 20).is_empty());
}

#[test]
fn a_core_library_is_needed() {
    let module = Module::open(&fixtures().join("rules.dll")).expect("the fixture");
    let error = Universe::new(vec![module.into()], &()).err();
    assert_eq!(error, Some(UniverseError::NoCoreLibrary));
}
