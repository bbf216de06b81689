//! Commits that come at the same time may be made together. Nobody notices.

use futures_util::future::join_all;
use noah::{
    primitives::{Action, Actor, Cause, Check, Commit, Committed, Name, Op},
    store::StoreError,
};

use super::{Case, commit, field, key, signal};
use crate::support::on_both_stores;

const WRITERS: usize = 300;

/// Makes all of these at the same time; what became of each.
async fn together(case: &Case, commits: &[Commit]) -> Vec<Result<Committed, StoreError>> {
    join_all(commits.iter().map(|commit| case.store.commit(commit))).await
}

/// What writer `n` does differently from all others.
fn actor(n: usize) -> Option<Actor> {
    (!n.is_multiple_of(3)).then(|| Actor::new(&Name::parse(&format!("w{n}")).unwrap(), None))
}

fn cause(n: usize) -> Option<Cause> {
    if n.is_multiple_of(5) { None } else { Cause::parse(&format!("run:{n}")).unwrap() }
}

fn own(n: usize) -> Commit {
    let put = signal(Op::put(key(&format!("ephemerals/{n}")), field("data", n.to_string())));
    let mut own = commit(1_000 + n as i64, vec![], vec![put]);
    (own.actor, own.cause, own.whole) = (actor(n), cause(n), n.is_multiple_of(2));
    own
}

async fn each_has_its_own_time_cause_actor_and_answer(case: Case) {
    let commits: Vec<Commit> = (0..WRITERS).map(own).collect();
    let done = together(&case, &commits).await;
    for (n, done) in done.into_iter().enumerate() {
        let done = done.unwrap();
        let one = done.one(0).unwrap();
        let is = (one.key.as_str(), one.created_at, one.updated_at, one.action, done.revision);
        let time = 1_000 + n as i64;
        assert_eq!(is, (format!("ephemerals/{n}").as_str(), time, time, Some(Action::Create), one.revision));
        assert_eq!(one.record.is_some(), n.is_multiple_of(2), "{n}");
        let event = case.store.log(one.revision - 1, 1).await.unwrap().pop().unwrap();
        assert_eq!((event.time, event.actor, event.cause), (time, actor(n), cause(n)));
        assert_eq!(event.record.text("data"), n.to_string());
    }
    assert_eq!(case.revision().await, WRITERS as u64);
}

async fn one_that_is_refused_is_refused_alone(case: Case) {
    // A third of them are refused in any case, and of the others on each key all but the first.
    let commits: Vec<Commit> = (0..WRITERS)
        .map(|n| {
            let taken = key(&format!("hosts/{}", n % 20));
            let put = vec![
                Op::put(taken.clone(), field("by", n.to_string())),
                Op::put(key(&format!("tags/{n}")), field("x", "y")),
            ];
            let check = if n.is_multiple_of(3) { Check::Exists(key("hosts/never")) } else { Check::Absent(taken) };
            commit(1_000, vec![Check::Absent(key("hosts/never")), check], put)
        })
        .collect();
    let mut by_key = vec![Vec::new(); 20];
    for (n, done) in together(&case, &commits).await.into_iter().enumerate() {
        match done {
            Ok(done) => {
                assert_eq!(done.results.len(), 2);
                by_key[n % 20].push(n);
            }
            Err(StoreError::Refused { check, revision, head }) => {
                assert_eq!((check, revision.is_some()), (1, n % 3 > 0), "{n}");
                assert!(head <= 40);
                assert!(case.get(&format!("tags/{n}")).await.is_none(), "nothing of a refused one is there");
            }
            Err(error) => panic!("{n}: {error}"),
        }
    }
    for (number, by) in by_key.iter().enumerate() {
        let [by] = by[..] else { panic!("{by:?} have made hosts/{number}") };
        assert_eq!(case.get(&format!("hosts/{number}")).await.unwrap().text("by"), by.to_string());
        assert!(case.get(&format!("tags/{by}")).await.is_some());
    }
    assert_eq!(case.events().await.len(), 40);
}

async fn large_ones_come_through_beside_small_ones(case: Case) {
    let commits: Vec<Commit> = (0..40_u8)
        .map(|n| {
            let data = vec![n; if n.is_multiple_of(4) { 512 << 10 } else { 1 }];
            commit(1_000, vec![], vec![Op::put(key(&format!("ephemerals/{n}")), field("data", data))])
        })
        .collect();
    for done in together(&case, &commits).await {
        done.unwrap();
    }
    for n in 0..40_u8 {
        let data = &case.get(&format!("ephemerals/{n}")).await.unwrap().fields["data"];
        assert!(
            data.iter().all(|byte| *byte == n) && data.len() == if n.is_multiple_of(4) { 512 << 10 } else { 1 },
            "{n}"
        );
    }
}

async fn who_goes_away_meanwhile_takes_nobody_with_it(case: Case) {
    let commits: Vec<Commit> = (0..WRITERS).map(own).collect();
    let store = &case.store;
    let all = commits.iter().enumerate().map(|(n, commit)| async move {
        let done = store.commit(commit);
        // A third of them hang up at once, in whatever place they are then.
        if n.is_multiple_of(3) {
            tokio::select! {
                biased;
                done = done => Some(done),
                () = tokio::task::yield_now() => None,
            }
        } else {
            Some(done.await)
        }
    });
    let done = join_all(all).await;
    assert!(done.iter().any(Option::is_none), "nobody has hung up");
    for done in done.into_iter().flatten() {
        done.unwrap();
    }
    // Nothing of them hangs on: the next is made at once.
    case.one(Op::put(key("hosts/a"), field("x", "y"))).await;
}

on_both_stores!(Case:
    each_has_its_own_time_cause_actor_and_answer,
    one_that_is_refused_is_refused_alone,
    large_ones_come_through_beside_small_ones,
    who_goes_away_meanwhile_takes_nobody_with_it,
);
