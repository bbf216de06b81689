//! `GET /denials`: who was refused what, and why; and which refusals are written down for that.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use actix_web::http::StatusCode;

use super::{answer::Answer, error::Failure, reading::paged, request::Request};
use crate::{
    primitives::{Denial, DenialJson, Error},
    rate::{Limiter, Rate, source},
    store::{Denials, Store},
};

/// How many are written down of one source in a minute; of those that say no more than that there were too many, one.
const NOTED: u32 = 100;
const NOTED_AS_TOO_MANY: u32 = 1;

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

/// Writes refused requests down, and of one source no more than tells what it is about: whoever wants to push the others
/// out of the log needs no token for it. What is more is counted.
pub struct Noting {
    denials: Denials,
    by_source: Limiter,
    too_many: Limiter,
}

impl Noting {
    /// Nothing is noted yet.
    #[must_use]
    pub fn new(denials: Denials) -> Self {
        let limiter = |count| Limiter::new(Rate::per_minute(count), None);
        Self { denials, by_source: limiter(NOTED), too_many: limiter(NOTED_AS_TOO_MANY) }
    }

    /// Has it written down soon, or counted.
    pub fn note(&self, denial: Denial) {
        let from = source(denial.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let says_too_many = denial.status == StatusCode::TOO_MANY_REQUESTS.as_u16();
        let limiter = if says_too_many { &self.too_many } else { &self.by_source };
        match limiter.take(from, Instant::now()) {
            Ok(()) => self.denials.note(denial),
            Err(_) => self.denials.count(),
        }
    }
}
