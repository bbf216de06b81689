//! `GET /denials`: who was refused what, and why.

use super::{answer::Answer, error::Failure, reading::paged, request::Request};
use crate::{
    primitives::{DenialJson, Error},
    store::Store,
};

/// How many there are in one answer when the client does not say, and at most.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// A page of them, the newest first, since what somebody wants to know is what was refused just now. It goes on with
/// older ones behind the number `after`, as every list goes on behind what it ended with.
pub async fn answer(store: &dyn Store, request: &Request) -> Result<Answer, Failure> {
    let number = |name: &str| {
        let number = |text: &str| text.parse::<u64>().map_err(|_| Error::invalid(format!("{name} is a whole number")));
        request.parameters.get(name).map(number).transpose()
    };
    let limit = number("limit")?.map_or(USUAL, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if !(1..=MOST).contains(&limit) {
        return Err(Error::invalid(format!("limit is a number from 1 to {MOST}")).into());
    }
    let mut found = store.denials(number("after")?, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(number, _)| number.to_string());
    let shown: Vec<_> = found.iter().map(|(number, denial)| DenialJson(*number, denial)).collect();
    Ok(paged(Answer::json(&shown), next.as_deref(), request))
}
