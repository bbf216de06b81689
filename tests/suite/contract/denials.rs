//! Requests that were refused: kept in order, the newest of them.

use noah::{
    primitives::Denial,
    store::{DENIALS, DenialWriter},
};

use super::Case;
use crate::support::on_both_stores;

fn denial(path: &str) -> Denial {
    Denial::new(403, "10.0.0.5".parse().ok(), "PUT", path, "it lacks write").by("deploy")
}

async fn paths(case: &Case, before: Option<u64>, limit: usize) -> Vec<(u64, String)> {
    let found = case.store.denials(before, limit).await.unwrap();
    found.into_iter().map(|(number, denial)| (number, denial.path)).collect()
}

fn numbered(numbers: &[u64]) -> Vec<(u64, String)> {
    numbers.iter().map(|number| (*number, format!("/{number}"))).collect()
}

async fn they_are_read_newest_first_and_page_by_page(case: Case) {
    assert!(paths(&case, None, 10).await.is_empty());
    case.store.deny(&[denial("/1"), denial("/2")]).await.unwrap();
    case.store.deny(&[denial("/3")]).await.unwrap();
    assert_eq!(paths(&case, None, 10).await, numbered(&[3, 2, 1]));
    assert_eq!(paths(&case, None, 2).await, numbered(&[3, 2]));
    assert_eq!(paths(&case, Some(2), 2).await, numbered(&[1]));
    for none in [1, 0] {
        assert!(paths(&case, Some(none), 2).await.is_empty());
    }
    assert_eq!(paths(&case, Some(u64::MAX), 1).await, numbered(&[3]));
    assert_eq!(paths(&case, Some(u64::from(u32::MAX)), 1).await, numbered(&[3]));
    assert_eq!((case.revision().await, case.events().await.len()), (0, 0), "they are no events");
}

async fn what_is_read_is_what_was_written(case: Case) {
    let mut odd = Denial::new(401, "::ffff:127.0.0.1".parse().ok(), "GET", "/\u{1}\"ö'|", "a wrong\ntoken");
    odd.missed = 7;
    case.store.deny(&[odd.clone(), denial("/2")]).await.unwrap();
    let read = case.store.denials(None, 10).await.unwrap();
    assert_eq!(read[1], (1, odd));
    assert_eq!((read[0].1.actor.as_deref(), read[0].1.missed), (Some("deploy"), 0));
}

async fn only_the_newest_are_kept_and_no_number_is_given_twice(case: Case) {
    let kept = u64::try_from(DENIALS).unwrap();
    let all: Vec<_> = (1..=kept + 20).map(|number| denial(&format!("/{number}"))).collect();
    for chunk in all.chunks(1_000) {
        case.store.deny(chunk).await.unwrap();
    }
    let found = paths(&case, None, DENIALS + 100).await;
    assert_eq!((found.len(), &found[0], found.last()), (DENIALS, &numbered(&[kept + 20])[0], numbered(&[21]).last()));
}

async fn a_writer_writes_all_that_it_was_told_also_while_it_stops(case: Case) {
    let writer = DenialWriter::start(std::sync::Arc::clone(&case.store));
    for number in 1..=600 {
        writer.denials().note(denial(&format!("/{number}")));
    }
    writer.stop().await;
    let found = paths(&case, None, 1_000).await;
    assert_eq!((found.len(), &found[0], found.last()), (600, &numbered(&[600])[0], numbered(&[1]).last()));
}

async fn what_there_is_no_room_for_is_counted_and_told_with_the_next(case: Case) {
    let writer = DenialWriter::start(std::sync::Arc::clone(&case.store));
    let denials = writer.denials();
    // On this thread, so that the writer, which shares it or not, cannot keep up.
    let mut noted = 8_000;
    (1..=noted).for_each(|number| denials.note(denial(&format!("/{number}"))));
    let store = &case.store;
    let known = async || {
        let found = store.denials(None, DENIALS).await.unwrap();
        let missed: u64 = found.iter().map(|(_, denial)| denial.missed).sum();
        (missed, missed + found.len() as u64)
    };
    // What waits is written down at a time; the next tells of the others once there is room for it.
    let mut waiting = true;
    while waiting {
        denials.note(denial("/next"));
        noted += 1;
        let before = known().await.1;
        let (missed, known) = crate::support::eventually("something more is written down", async || {
            let (missed, known) = known().await;
            (known > before).then_some((missed, known))
        })
        .await;
        assert!(known <= noted, "{known} of {noted}");
        waiting = missed == 0 || known < noted;
    }
    writer.stop().await;
}

on_both_stores!(Case:
    they_are_read_newest_first_and_page_by_page,
    what_is_read_is_what_was_written,
    only_the_newest_are_kept_and_no_number_is_given_twice,
    a_writer_writes_all_that_it_was_told_also_while_it_stops,
    what_there_is_no_room_for_is_counted_and_told_with_the_next,
);
