//! The checker itself: what it has to take, what it has to refuse, and that its shortcuts change nothing.

use super::{
    checker::{
        Action::{Delete, Get, Put},
        Condition::{Absent, Match, None},
        Operation,
        Outcome::{self, Done, Found, Nothing, RefusedAt, RefusedWithout, Unknown},
        State, check,
    },
    random::Random,
};

fn op(start: u64, end: u64, action: super::checker::Action, outcome: Outcome) -> Operation {
    Operation { start, end, action, outcome }
}

/// One after the other, each behind the end of the one before.
fn sequence(ops: &[(super::checker::Action, Outcome)]) -> Vec<Operation> {
    let at = |n: usize| 10 * n as u64;
    ops.iter().enumerate().map(|(n, (action, outcome))| op(at(n), at(n) + 5, *action, *outcome)).collect()
}

fn taken(history: &[Operation]) {
    assert!(check(history).is_ok(), "{history:#?}");
}

fn refused(history: &[Operation]) {
    assert!(check(history).is_err(), "{history:#?}");
}

#[test]
fn what_one_client_does_is_taken() {
    taken(&sequence(&[
        (Get, Nothing(0)),
        (Delete(None), Nothing(0)),
        (Put(Match(7), 0), RefusedWithout(0)),
        (Put(Absent, 1), Done(1, true)),
        (Get, Found(1, 1)),
        (Put(Absent, 2), RefusedAt(1)),
        (Put(Match(9), 3), RefusedAt(1)),
        (Put(Match(1), 4), Done(2, false)),
        (Put(None, 5), Done(5, false)),
        (Get, Found(5, 5)),
        (Delete(Match(2)), RefusedAt(5)),
        (Delete(Match(5)), Done(6, false)),
        (Get, Nothing(8)),
        (Put(None, 6), Done(9, true)),
    ]));
}

#[test]
fn each_way_to_be_wrong_is_refused() {
    let put = (Put(None, 1), Done(1, true));
    // A stale read: of the first value after the second was answered; of nothing; of a value that nobody put.
    refused(&sequence(&[put, (Put(None, 2), Done(2, false)), (Get, Found(1, 1))]));
    refused(&sequence(&[put, (Get, Nothing(1))]));
    refused(&sequence(&[put, (Get, Found(1, 9))]));
    refused(&sequence(&[put, (Get, Found(2, 1))]));
    refused(&sequence(&[put, (Delete(None), Done(2, false)), (Get, Found(1, 1))]));
    // A revision that was given out before, or that the store had passed.
    refused(&sequence(&[put, (Put(None, 2), Done(1, false))]));
    refused(&sequence(&[(Get, Nothing(5)), (Put(None, 2), Done(5, true))]));
    // Words that are not true.
    refused(&sequence(&[put, (Put(None, 2), Done(2, true))]));
    refused(&sequence(&[(Put(None, 1), Done(1, false))]));
    refused(&sequence(&[(Delete(None), Done(1, false))]));
    refused(&sequence(&[put, (Delete(None), Nothing(1))]));
    // A condition that holds and is refused, or does not hold and is taken.
    refused(&sequence(&[put, (Put(Match(1), 2), RefusedAt(1))]));
    refused(&sequence(&[put, (Put(Match(1), 2), RefusedAt(7))]));
    refused(&sequence(&[put, (Put(Match(7), 2), RefusedWithout(1))]));
    refused(&sequence(&[put, (Put(Match(7), 2), Done(2, false))]));
    refused(&sequence(&[put, (Put(Absent, 2), Done(2, false))]));
    refused(&sequence(&[(Put(Absent, 2), RefusedAt(1))]));
    refused(&sequence(&[(Put(None, 2), RefusedAt(1))]));
}

#[test]
fn of_those_at_the_same_time_any_order_will_do_and_one_winner() {
    let first = op(0, 5, Put(None, 1), Done(1, true));
    taken(&[first, op(0, 5, Get, Nothing(0)), op(0, 5, Get, Found(1, 1))]);
    let wins = op(10, 20, Put(Match(1), 2), Done(2, false));
    taken(&[first, wins, op(10, 20, Put(Match(1), 3), RefusedAt(2)), op(10, 20, Get, Found(1, 1))]);
    // Two winners of one revision: a lost update.
    refused(&[first, wins, op(10, 20, Put(Match(1), 3), Done(3, false))]);
    refused(&[op(0, 9, Put(Absent, 1), Done(1, true)), op(0, 9, Put(Absent, 2), Done(2, true))]);
    refused(&[first, op(10, 20, Delete(Match(1)), Done(2, false)), op(10, 20, Put(Match(1), 3), Done(3, false))]);
    // The loser is told of the winner before that began.
    refused(&[first, op(6, 8, Put(Match(9), 3), RefusedAt(2)), wins]);
    // Of two reads that follow each other the second sees no older value, also while the write is under way.
    let slow = op(10, 90, Put(None, 2), Done(2, false));
    taken(&[first, slow, op(20, 30, Get, Found(1, 1)), op(40, 50, Get, Found(2, 2))]);
    refused(&[first, slow, op(20, 30, Get, Found(2, 2)), op(40, 50, Get, Found(1, 1))]);
}

#[test]
fn what_was_not_answered_happened_once_or_never() {
    let first = op(0, 5, Put(None, 1), Done(1, true));
    let lost = op(10, u64::MAX, Put(None, 2), Unknown);
    taken(&[first, lost, op(20, 30, Get, Found(1, 1))]);
    taken(&[first, lost, op(20, 30, Get, Found(1, 1)), op(40, 50, Get, Found(2, 2))]);
    taken(&[first, lost, op(20, 30, Put(Match(7), 3), RefusedAt(2)), op(40, 50, Put(Match(2), 4), Done(3, false))]);
    refused(&[first, lost, op(20, 30, Get, Found(2, 2)), op(40, 50, Get, Found(1, 1))]);
    // It was seen before it was sent, or happened twice.
    refused(&[first, op(6, 8, Get, Found(2, 2)), lost]);
    let then = op(40, 50, Put(None, 3), Done(3, false));
    refused(&[first, lost, op(20, 30, Get, Found(2, 2)), then, op(60, 70, Get, Found(4, 2))]);
    let removed = op(10, u64::MAX, Delete(Match(1)), Unknown);
    taken(&[first, removed, op(20, 30, Get, Nothing(2)), op(40, 50, Put(Absent, 3), Done(3, true))]);
    refused(&[first, op(6, 8, Put(None, 2), Done(2, false)), removed, op(20, 30, Get, Nothing(3))]);
    // Its condition counts.
    let conditional = op(10, u64::MAX, Put(Match(1), 2), Unknown);
    refused(&[first, op(6, 8, Put(None, 9), Done(2, false)), conditional, op(20, 30, Get, Found(3, 2))]);
}

/// Without any shortcut: every order is tried.
fn by_hand(ops: &[Operation], done: u32, state: State) -> bool {
    let open = |at: usize| done & (1 << at) == 0;
    let answered = |at: usize| ops[at].outcome != Unknown;
    let left: Vec<usize> = (0..ops.len()).filter(|at| open(*at) && answered(*at)).collect();
    if left.is_empty() {
        return true;
    }
    (0..ops.len()).filter(|at| open(*at)).any(|at| {
        left.iter().all(|other| *other == at || ops[*other].end >= ops[at].start)
            && state.after(&ops[at]).is_some_and(|next| by_hand(ops, done | 1 << at, next))
    })
}

#[test]
fn its_shortcuts_change_no_verdict() {
    let mut random = Random::of(7);
    let (mut yes, mut no) = (0, 0);
    for _ in 0..100_000 {
        let ops: Vec<Operation> = (0..random.up_to(5) + 2).map(|n| any_operation(&mut random, n as u32)).collect();
        let verdict = by_hand(&ops, 0, State::EMPTY);
        assert_eq!(check(&ops).is_ok(), verdict, "{ops:#?}");
        if verdict { yes += 1 } else { no += 1 }
    }
    println!("{yes} are linearizable, {no} are not");
    assert!(yes > 1_000 && no > 1_000, "{yes} and {no}: nothing is shown");
}

/// An operation that puts `value`, if any, with few revisions and times, so that some fit together.
fn any_operation(random: &mut Random, value: u32) -> Operation {
    let start = random.up_to(20);
    let condition = [None, None, Match(random.up_to(3) + 1), Absent][random.up_to(4) as usize];
    let action = match random.up_to(5) {
        0 | 1 => Get,
        2 | 3 => Put(condition, value),
        _ => Delete(if condition == Absent { None } else { condition }),
    };
    let revision = random.up_to(4) + 1;
    let outcome = match (action, random.up_to(5)) {
        (Put(..) | Delete(_), 0 | 1) => Unknown,
        (Put(..) | Delete(_), 2 | 3) => Done(revision, random.up_to(2) == 0),
        (Put(..) | Delete(_), _) if random.up_to(2) == 0 => RefusedAt(revision),
        (Put(..), _) => RefusedWithout(revision - 1),
        (Get, 0..=2) => Found(revision, random.up_to(4) as u32),
        _ => Nothing(revision - 1),
    };
    let end = if outcome == Unknown { u64::MAX } else { start + random.up_to(15) };
    op(start, end, action, outcome)
}
