use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use uuid::Uuid;

use super::metrics::Metrics;
use crate::{
    primitives::Hold,
    store::{Beat, Holdings, Store, StoreError},
};

/// After how long a process that is not heard of loses what it holds.
const TTL: Duration = Duration::from_secs(3);
/// How often it is heard of.
const BEAT: Duration = Duration::from_millis(750);
/// How long the last sign of life may take.
const LEAVE: Duration = Duration::from_secs(1);

/// The parts of the watches that this process holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Held {
    /// Those it delivers for.
    pub(super) parts: BTreeMap<u16, Hold>,
    /// Those it holds, and is to let go of as soon as nothing is under way.
    pub(super) leaving: BTreeMap<u16, Hold>,
}

impl Held {
    fn has(&self, hold: &Hold) -> bool {
        [&self.parts, &self.leaving].iter().any(|holds| holds.get(&hold.part) == Some(hold))
    }
}

/// Keeps telling the store that this process is alive, and what it lets go of; the store's answer is what it holds.
pub(super) struct Owner {
    store: Arc<dyn Store>,
    member: Uuid,
    name: String,
    held: watch::Sender<Held>,
    valid_until: watch::Sender<Instant>,
    metrics: Arc<Metrics>,
    released: mpsc::UnboundedReceiver<Hold>,
    /// Released, and not yet said.
    release: HashSet<Hold>,
}

/// What others see of an [`Owner`].
#[derive(Clone)]
pub(super) struct Holder {
    /// What is held.
    pub(super) held: watch::Receiver<Held>,
    /// Until when nobody else can hold it.
    pub(super) valid_until: watch::Receiver<Instant>,
    /// For holds that nothing is under way for any more.
    pub(super) release: mpsc::UnboundedSender<Hold>,
}

impl Owner {
    pub(super) fn new(store: Arc<dyn Store>, name: String, metrics: Arc<Metrics>) -> (Self, Holder) {
        let (release, released) = mpsc::unbounded_channel();
        let (held, valid_until) = (watch::Sender::default(), watch::Sender::new(Instant::now()));
        let holder = Holder { held: held.subscribe(), valid_until: valid_until.subscribe(), release };
        let member = Uuid::new_v4();
        (Self { store, member, name, held, valid_until, metrics, released, release: HashSet::new() }, holder)
    }

    /// Holds what it can until this process is `ending`, then only what is still under way, until it is told to
    /// stop; then everything is let go of.
    pub(super) async fn run(mut self, ending: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) {
        loop {
            let takes = !*ending.borrow();
            if let Err(error) = self.beat(TTL, takes).await {
                tracing::debug!(%error, "the store does not say which watches are ours");
            }
            tokio::select! {
                () = tokio::time::sleep(BEAT) => {}
                Some(hold) = self.released.recv() => {
                    self.release.insert(hold);
                    while let Ok(hold) = self.released.try_recv() {
                        self.release.insert(hold);
                    }
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        // Without this the others find out by themselves, a little later.
        if !matches!(tokio::time::timeout(LEAVE, self.beat(Duration::ZERO, false)).await, Ok(Ok(()))) {
            tracing::debug!("the store was not told that this process ends");
        }
    }

    async fn beat(&mut self, ttl: Duration, takes: bool) -> Result<(), StoreError> {
        // What was lost and taken anew meanwhile is another hold, and stays.
        self.release.retain(|hold| self.held.borrow().has(hold));
        let release = self.release.iter().map(|hold| hold.part).collect();
        let beat = Beat { member: self.member, name: self.name.clone(), ttl, takes, release };
        // The store counts from when it hears this, which is later.
        let valid_until = Instant::now() + ttl;
        let holdings = self.store.hold(&beat).await?;
        let released = std::mem::take(&mut self.release);
        self.metrics.alive.set(i64::try_from(holdings.members.len()).unwrap_or(i64::MAX));
        self.metrics.parts.set(i64::try_from(holdings.holds.len()).unwrap_or(i64::MAX));
        self.held.send_if_modified(|held| {
            let now = next(held, &released, &holdings);
            let changed = *held != now;
            *held = now;
            changed
        });
        // Only now: who waits for it looks at what is held then.
        self.valid_until.send_replace(valid_until);
        Ok(())
    }
}

/// What is held now. A hold that is to be let go of stays so until it is, and of what is too much the last go first.
fn next(before: &Held, released: &HashSet<Hold>, holdings: &Holdings) -> Held {
    let stays = |hold: &&Hold| before.leaving.get(&hold.part) == Some(hold) && !released.contains(hold);
    let mut leaving: BTreeMap<u16, Hold> = holdings.holds.iter().filter(stays).map(|hold| (hold.part, *hold)).collect();
    let surplus = holdings.holds.len().saturating_sub(holdings.fair);
    for hold in holdings.holds.iter().rev() {
        if leaving.len() >= surplus {
            break;
        }
        leaving.insert(hold.part, *hold);
    }
    let parts = holdings.holds.iter().filter(|hold| !leaving.contains_key(&hold.part));
    Held { parts: parts.map(|hold| (hold.part, *hold)).collect(), leaving }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(part: u16, fence: u64) -> Hold {
        Hold { part, owner: Uuid::nil(), fence }
    }

    fn holdings(parts: &[u16], fair: usize) -> Holdings {
        let holds = parts.iter().map(|part| hold(*part, 1)).collect();
        Holdings { holds, fair, members: Vec::new() }
    }

    fn parts(held: &Held) -> (Vec<u16>, Vec<u16>) {
        (held.parts.keys().copied().collect(), held.leaving.keys().copied().collect())
    }

    #[test]
    fn what_is_too_much_leaves_and_stays_leaving_until_it_was_released() {
        let none = HashSet::new();
        let all = next(&Held::default(), &none, &holdings(&[0, 1, 2, 3], 4));
        assert_eq!(parts(&all), (vec![0, 1, 2, 3], vec![]));
        let too_much = next(&all, &none, &holdings(&[0, 1, 2, 3], 2));
        assert_eq!(parts(&too_much), (vec![0, 1], vec![2, 3]));
        let again = next(&too_much, &none, &holdings(&[0, 1, 2, 3], 4));
        assert_eq!(parts(&again), (vec![0, 1], vec![2, 3]), "what is being ended is ended");
        let released = HashSet::from([hold(2, 1), hold(3, 1)]);
        let back = next(&again, &released, &holdings(&[0, 1, 2], 4));
        assert_eq!(parts(&back), (vec![0, 1, 2], vec![]), "taken again after it was released");
    }

    #[test]
    fn a_part_that_was_lost_and_taken_anew_is_another_hold() {
        let leaving = next(&Held::default(), &HashSet::new(), &holdings(&[0, 1], 1));
        assert_eq!(parts(&leaving), (vec![0], vec![1]));
        let anew = Holdings { holds: vec![hold(0, 1), hold(1, 3)], fair: 2, members: Vec::new() };
        let now = next(&leaving, &HashSet::new(), &anew);
        assert_eq!(parts(&now), (vec![0, 1], vec![]), "it need not be let go of");
        assert!(now.has(&hold(1, 3)) && !now.has(&hold(1, 1)));
        let too_much = next(&now, &HashSet::new(), &Holdings { fair: 1, ..anew });
        assert_eq!(too_much.leaving, BTreeMap::from([(1, hold(1, 3))]), "and leaves as what it now is");
    }
}
