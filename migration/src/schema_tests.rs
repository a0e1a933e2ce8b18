//! Which schemas a program can work on.

use super::*;

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

fn judged(known: &[&str], applied: &[&str]) -> Standing {
    judge(&names(known), &names(applied))
}

const KNOWN: [&str; 2] = ["m0001_ledger", "m0002_more"];

#[test]
fn its_own_schema_is_workable_and_an_older_one_is_behind() {
    let later = Vec::new();
    assert_eq!(judged(&KNOWN, &KNOWN), Standing::Workable { later });
    let missing = names(&["m0002_more"]);
    assert_eq!(judged(&KNOWN, &KNOWN[..1]), Standing::Behind { missing });
    let missing = names(&KNOWN);
    assert_eq!(judged(&KNOWN, &[]), Standing::Behind { missing });
}

#[test]
fn what_later_versions_add_is_no_hindrance() {
    for later in [
        "m0003_added",
        "m0040_added",
        "m0003_drop_needs_0002",
        "m0009_drop_needs_0001",
    ] {
        let applied = [&KNOWN[..], &[later]].concat();
        let later = names(&[later]);
        assert_eq!(judged(&KNOWN, &applied), Standing::Workable { later });
    }
}

#[test]
fn what_takes_away_what_this_version_needs_is() {
    for later in [
        "m0004_drop_needs_0003",
        "m0004_drop_needs_many",
        "somebody_elses",
        "m4_short",
        "m0004_",
    ] {
        let applied = [&KNOWN[..], &["m0003_added", later]].concat();
        let migration = later.to_owned();
        assert_eq!(
            judged(&KNOWN, &applied),
            Standing::Unworkable(TooNew { migration })
        );
    }
}

#[test]
fn the_names_of_our_migrations_say_what_they_ask_for() {
    let known = known();
    let numbers: Vec<u32> = known.iter().filter_map(|name| number(name)).collect();
    assert_eq!(numbers.len(), known.len(), "{known:?}");
    assert!(numbers.is_sorted_by(|one, next| one < next), "{known:?}");
    for name in &known {
        match needs(name) {
            Needs::Nothing => {}
            Needs::Knowing(needed) => assert!(Some(needed) < number(name), "{name}"),
            Needs::Unclear => panic!("{name}"),
        }
    }
}
