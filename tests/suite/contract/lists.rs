use noah::primitives::{List, Op, Query, Select};

use super::{Case, field, key};
use crate::support::on_both_stores;

/// Names whose order by bytes is none of: by letters without case, by UTF-16, by segments.
const NAMES: [&str; 12] = ["", "A", "B", "a", "a b", "a-b", "a/b", "a0", "ab", "é", "\u{ff5e}", "\u{1f600}"];

async fn fill(case: &Case) {
    let ops = NAMES.iter().rev().map(|name| Op::put(key(&format!("ephemerals/{name}")), field("n", *name)));
    case.commit(ops.collect()).await;
}

fn all() -> List {
    List::of(Select::all("ephemerals"))
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("ephemerals/{name}")).collect()
}

async fn lists_are_in_the_order_of_the_keys_bytes(case: Case) {
    fill(&case).await;
    let mut sorted = named(&NAMES);
    sorted.sort_unstable();
    assert_eq!(sorted, named(&NAMES), "the names above are written in that order");
    assert_eq!(case.keys(Query::List(all())).await, sorted);
}

async fn a_prefix_takes_exactly_the_keys_that_begin_with_it(case: Case) {
    fill(&case).await;
    case.create("ephemerals/a\u{10ffff}").await;
    let under = |prefix: &str| Query::List(List::of(Select::under("ephemerals", prefix)));
    let found = case.keys(under("ephemerals/a")).await;
    assert_eq!(found, named(&["a", "a b", "a-b", "a/b", "a0", "ab", "a\u{10ffff}"]));
    assert_eq!(case.keys(under("ephemerals/a/")).await, named(&["a/b"]));
    assert_eq!(case.keys(under("ephemerals/\u{1f600}")).await, named(&["\u{1f600}"]));
    assert!(case.keys(under("ephemerals/zz")).await.is_empty());
    assert!(case.keys(under("hosts/")).await.is_empty());
}

async fn a_limit_and_a_place_to_go_on_from_page_through_a_list(case: Case) {
    fill(&case).await;
    for limit in [1, 2, 5, 11, 12, 13] {
        let (mut seen, mut list) = (Vec::new(), List { limit: Some(limit), ..all() });
        loop {
            let page = case.keys(Query::List(list.clone())).await;
            assert!(page.len() as u64 <= limit);
            let Some(last) = page.last() else { break };
            list.after = Some(last.clone());
            seen.extend(page);
        }
        assert_eq!(seen, named(&NAMES), "in pages of {limit}");
    }
}

async fn the_place_to_go_on_from_need_not_exist(case: Case) {
    fill(&case).await;
    let after = |place: &str| Query::List(List { after: Some(place.to_owned()), ..all() });
    assert_eq!(case.keys(after("ephemerals/a-c")).await, named(&NAMES[6..]));
    assert_eq!(case.keys(after("ephemeralsA")).await, Vec::<String>::new());
    assert_eq!(case.keys(after("")).await, named(&NAMES));
    let within_prefix =
        List { after: Some("ephemerals/a-b".to_owned()), ..List::of(Select::under("ephemerals", "ephemerals/a")) };
    assert_eq!(case.keys(Query::List(within_prefix)).await, named(&["a/b", "a0", "ab"]));
    let before_prefix =
        List { after: Some("ephemerals/A".to_owned()), ..List::of(Select::under("ephemerals", "ephemerals/ab")) };
    assert_eq!(case.keys(Query::List(before_prefix)).await, named(&["ab"]));
}

async fn filters_come_before_the_limit(case: Case) {
    for n in 0..20 {
        let edit = field("status", if n % 4 == 3 { "up" } else { "down" }).set("kind", format!("{}", n % 8));
        let edit = if n >= 6 { edit.join("tags/late") } else { edit };
        let edit = if n % 2 == 1 { edit.join("tags/odd") } else { edit };
        case.one(Op::put(key(&format!("hosts/h{n:02}")), edit)).await;
    }
    let hosts = || List::of(Select::all("hosts"));
    let equals = |fields: &[(&str, &str)]| -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let up = List { fields: equals(&[("status", "up")]), ..hosts() };
    let found = case.keys(Query::List(List { limit: Some(3), ..up.clone() })).await;
    assert_eq!(found, ["hosts/h03", "hosts/h07", "hosts/h11"]);
    let found = case.keys(Query::List(List { limit: Some(3), after: Some("hosts/h11".into()), ..up })).await;
    assert_eq!(found, ["hosts/h15", "hosts/h19"]);
    let both = List { fields: equals(&[("status", "up"), ("kind", "3")]), ..hosts() };
    assert_eq!(case.keys(Query::List(both)).await, ["hosts/h03", "hosts/h11", "hosts/h19"]);
    let within = |indexes: &[&str]| indexes.iter().map(|&index| index.to_owned()).collect();
    let tagged = List { within: within(&["tags/late", "tags/odd"]), limit: Some(2), ..hosts() };
    assert_eq!(case.keys(Query::List(tagged)).await, ["hosts/h07", "hosts/h09"]);
    let all = List { within: within(&["tags/odd"]), fields: equals(&[("kind", "3")]), ..hosts() };
    assert_eq!(case.keys(Query::List(all)).await, ["hosts/h03", "hosts/h11", "hosts/h19"]);
    for nothing in [
        List { fields: equals(&[("status", "u")]), ..hosts() },
        List { fields: equals(&[("nothing", "")]), ..hosts() },
        List { within: within(&["tags/none"]), ..hosts() },
    ] {
        assert!(case.keys(Query::List(nothing.clone())).await.is_empty(), "{nothing:?}");
    }
}

async fn members_of_an_index_are_listed_like_a_collection(case: Case) {
    for name in ["services/w/h", "hosts/b", "applications/x", "hosts/a"] {
        case.member(name, &["tags/t"]).await;
    }
    case.create("hosts/c").await;
    assert_eq!(case.members("tags/t").await, ["applications/x", "hosts/a", "hosts/b", "services/w/h"]);
    let hosts = List { limit: Some(1), ..List::of(Select::under("tags/t", "hosts/")) };
    assert_eq!(case.keys(Query::List(hosts)).await, ["hosts/a"]);
}

async fn a_read_answers_its_queries_in_their_order(case: Case) {
    case.member("hosts/a", &["tags/t"]).await;
    let queries = [
        Query::Count("hosts".to_owned()),
        Query::Get(key("hosts/none")),
        Query::List(all()),
        Query::Get(key("hosts/a")),
    ];
    let reading = case.store.read(&queries).await.unwrap();
    let sizes: Vec<_> = reading.answers.iter().map(|answer| (answer.records.len(), answer.count)).collect();
    assert_eq!(reading.revision, 1);
    assert_eq!((sizes[0].1, sizes[1].0, sizes[2].0, sizes[3].0), (1, 0, 0, 1));
    assert_eq!(sizes.len(), 4);
}

async fn a_page_of_large_records_has_fewer_but_at_least_one(case: Case) {
    for n in 0..6 {
        case.one(Op::put(key(&format!("ephemerals/{n}")), field("data", vec![n; 100_000]))).await;
    }
    let page = |bytes, after: Option<&str>| {
        Query::List(List { bytes: Some(bytes), after: after.map(ToOwned::to_owned), ..all() })
    };
    assert_eq!(case.keys(page(1, None)).await, ["ephemerals/0"]);
    assert_eq!(case.keys(page(150_000, None)).await, ["ephemerals/0", "ephemerals/1"]);
    assert_eq!(case.keys(page(150_000, Some("ephemerals/4"))).await, ["ephemerals/5"]);
    assert_eq!(case.keys(page(u64::from(u32::MAX), None)).await.len(), 6);
}

on_both_stores!(Case:
    a_page_of_large_records_has_fewer_but_at_least_one,
    lists_are_in_the_order_of_the_keys_bytes,
    a_prefix_takes_exactly_the_keys_that_begin_with_it,
    a_limit_and_a_place_to_go_on_from_page_through_a_list,
    the_place_to_go_on_from_need_not_exist,
    filters_come_before_the_limit,
    members_of_an_index_are_listed_like_a_collection,
    a_read_answers_its_queries_in_their_order,
);
