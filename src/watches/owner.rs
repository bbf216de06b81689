use std::{
    collections::{BTreeMap, BTreeSet},
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
    pub(super) leaving: BTreeSet<u16>,
}

/// Keeps telling the store that this process is alive, and what it lets go of; the store's answer is what it holds.
pub(super) struct Owner {
    store: Arc<dyn Store>,
    member: Uuid,
    name: String,
    held: watch::Sender<Held>,
    valid_until: watch::Sender<Instant>,
    metrics: Arc<Metrics>,
    released: mpsc::UnboundedReceiver<u16>,
    /// Released, and not yet said.
    release: BTreeSet<u16>,
}

/// What others see of an [`Owner`].
#[derive(Clone)]
pub(super) struct Holder {
    /// What is held.
    pub(super) held: watch::Receiver<Held>,
    /// Until when nobody else can hold it.
    pub(super) valid_until: watch::Receiver<Instant>,
    /// For parts that nothing is under way for any more.
    pub(super) release: mpsc::UnboundedSender<u16>,
}

impl Owner {
    pub(super) fn new(store: Arc<dyn Store>, name: String, metrics: Arc<Metrics>) -> (Self, Holder) {
        let (release, released) = mpsc::unbounded_channel();
        let (held, valid_until) = (watch::Sender::default(), watch::Sender::new(Instant::now()));
        let holder = Holder { held: held.subscribe(), valid_until: valid_until.subscribe(), release };
        let member = Uuid::new_v4();
        (Self { store, member, name, held, valid_until, metrics, released, release: BTreeSet::new() }, holder)
    }

    /// Holds what it can until it is told to stop; then everything is let go of.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.beat(TTL).await {
                tracing::debug!(%error, "the store does not say which watches are ours");
            }
            tokio::select! {
                () = tokio::time::sleep(BEAT) => {}
                Some(part) = self.released.recv() => {
                    self.release.insert(part);
                    while let Ok(part) = self.released.try_recv() {
                        self.release.insert(part);
                    }
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        // Without this the others find out by themselves, a little later.
        if !matches!(tokio::time::timeout(LEAVE, self.beat(Duration::ZERO)).await, Ok(Ok(()))) {
            tracing::debug!("the store was not told that this process ends");
        }
    }

    async fn beat(&mut self, ttl: Duration) -> Result<(), StoreError> {
        let release = self.release.iter().copied().collect();
        let beat = Beat { member: self.member, name: self.name.clone(), ttl, release };
        // The store counts from when it hears this, which is later.
        let valid_until = Instant::now() + ttl;
        let holdings = self.store.hold(&beat).await?;
        let released = std::mem::take(&mut self.release);
        self.valid_until.send_replace(valid_until);
        self.metrics.alive.set(i64::try_from(holdings.members.len()).unwrap_or(i64::MAX));
        self.metrics.parts.set(i64::try_from(holdings.holds.len()).unwrap_or(i64::MAX));
        self.held.send_if_modified(|held| {
            let now = next(held, &released, &holdings);
            let changed = *held != now;
            *held = now;
            changed
        });
        Ok(())
    }
}

/// What is held now. A part that is to be let go of stays so until it is, and of what is too much the last go first.
fn next(before: &Held, released: &BTreeSet<u16>, holdings: &Holdings) -> Held {
    let parts = holdings.holds.iter().map(|hold| hold.part);
    let mut leaving: BTreeSet<u16> =
        parts.filter(|part| before.leaving.contains(part) && !released.contains(part)).collect();
    let surplus = holdings.holds.len().saturating_sub(holdings.fair);
    for hold in holdings.holds.iter().rev() {
        if leaving.len() >= surplus {
            break;
        }
        leaving.insert(hold.part);
    }
    let parts = holdings.holds.iter().filter(|hold| !leaving.contains(&hold.part));
    Held { parts: parts.map(|hold| (hold.part, *hold)).collect(), leaving }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings(parts: &[u16], fair: usize) -> Holdings {
        let owner = Uuid::nil();
        let holds = parts.iter().map(|part| Hold { part: *part, owner, fence: 1 }).collect();
        Holdings { holds, fair, members: Vec::new() }
    }

    fn parts(held: &Held) -> (Vec<u16>, Vec<u16>) {
        (held.parts.keys().copied().collect(), held.leaving.iter().copied().collect())
    }

    #[test]
    fn what_is_too_much_leaves_and_stays_leaving_until_it_was_released() {
        let none = BTreeSet::new();
        let all = next(&Held::default(), &none, &holdings(&[0, 1, 2, 3], 4));
        assert_eq!(parts(&all), (vec![0, 1, 2, 3], vec![]));
        let too_much = next(&all, &none, &holdings(&[0, 1, 2, 3], 2));
        assert_eq!(parts(&too_much), (vec![0, 1], vec![2, 3]));
        let again = next(&too_much, &none, &holdings(&[0, 1, 2, 3], 4));
        assert_eq!(parts(&again), (vec![0, 1], vec![2, 3]), "what is being ended is ended");
        let back = next(&again, &BTreeSet::from([2, 3]), &holdings(&[0, 1, 2], 4));
        assert_eq!(parts(&back), (vec![0, 1, 2], vec![]), "taken again after it was released");
    }
}
