//! Records in memory, in front of any store: what is read often is answered without asking it.
//!
//! Every change of a record is an event, and events have revisions without holes. So a record that was read at a
//! revision is what it was for as long as no event behind that is of its key, and [`known::Known`] is all that there is to
//! know: up to where this process has heard of all events, and when that was all there was. Events are heard of from this
//! process's own commits at once, and otherwise from whoever here reads the log; where nobody does, [`Hot`] reads it.
//!
//! What is promised, whatever else happens (connections that break or hang, a log that comes late, a process that was
//! stopped, a store that lost its last commits):
//!
//! - Who was told of a revision by this process never reads something older from it afterwards.
//! - What another process has committed is read here once the log has told of it, and no later than [`BOUND`] after it was
//!   committed: nothing is answered from memory when the store was not asked for so long whether there is more.
//!
//! Records with a lease are not kept: their time may be renewed without an event.

mod known;
mod store;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};
use tokio::{sync::Notify, task::AbortHandle, time::timeout};

use super::{Store, StoreError};
use crate::primitives::{Collection, Key, Query, Record};
use known::{Known, Mark, Verdict};

/// How long events may be on their way before they are asked for.
const ON_THEIR_WAY: Duration = Duration::from_millis(1);
/// How many events are read at once, and behind how many of them all is begun anew.
const PAGE: usize = 256;
const FAR: u64 = 4096;
/// About what a record takes in memory besides its fields, and a field besides its bytes.
const RECORD_BYTES: usize = 400;
const FIELD_BYTES: usize = 96;

/// A store and what was read of it. All that goes to the store has to go through this one.
pub struct Hot {
    store: Arc<dyn Store>,
    /// `None` when nothing is kept.
    kept: Option<Kept>,
}

struct Kept {
    records: Cache<Key, Arc<Held>, Weight>,
    known: Known,
    counts: Counts,
    /// How many commits are under way.
    committing: AtomicU64,
    /// Somebody could have been answered from memory if more of the log were known.
    behind: Arc<Notify>,
    follower: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    bypasses: AtomicU64,
}

/// How memory has been used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Reads that were answered from memory,
    pub hits: u64,
    /// those of what was not there, or has changed,
    pub misses: u64,
    /// and those of what was there but could have been old, or was not wanted from memory.
    pub bypasses: u64,
    /// How many records there are,
    pub records: u64,
    /// and about how many bytes.
    pub bytes: u64,
}

/// A record as it was read.
#[derive(Debug)]
pub struct Held {
    /// The record.
    pub record: Record,
    /// `None` when it is not kept.
    mark: Option<Mark>,
    written: OnceLock<Bytes>,
}

impl Held {
    /// A record that is not kept.
    #[must_use]
    pub fn once(record: Record) -> Self {
        Self { record, mark: None, written: OnceLock::new() }
    }

    /// The record as it is sent: written once, and then the same bytes for all. There is one way to write a record.
    pub fn written(&self, write: impl FnOnce(&Record) -> Vec<u8>) -> Bytes {
        self.written.get_or_init(|| write(&self.record).into()).clone()
    }
}

/// What one key has in the store.
#[derive(Debug)]
pub enum Found {
    /// A record.
    Here(Arc<Held>),
    /// None, at this revision of the store.
    Nothing(u64),
}

/// By how much a record counts against the bound: its fields twice, as they are written out as well.
#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<Held>> for Weight {
    fn weight(&self, key: &Key, held: &Arc<Held>) -> u64 {
        let fields = held.record.fields.iter();
        let bytes: usize = fields.map(|(name, value)| name.len() + 2 * value.len() + FIELD_BYTES).sum();
        let indexes: usize = held.record.indexes.iter().map(|index| index.len() + FIELD_BYTES).sum();
        (key.as_str().len() + bytes + indexes + RECORD_BYTES) as u64
    }
}

impl Hot {
    /// Keeps about so many bytes of what is read from a store; 0 is nothing. It reads the log in the runtime that this is
    /// called in.
    #[must_use]
    pub fn over(store: Arc<dyn Store>, bytes: usize) -> Arc<Self> {
        let kept = (bytes > 0).then(|| Kept {
            // It grows with what is in it. The number of records is for how many keys are remembered that were thrown out.
            records: Cache::with_weighter(bytes / 2048, bytes as u64, Weight),
            known: Known::new(),
            counts: Counts::default(),
            committing: AtomicU64::new(0),
            behind: Arc::default(),
            follower: OnceLock::new(),
        });
        let hot = Arc::new(Self { store, kept });
        if let Some(kept) = &hot.kept {
            let (behind, here) = (Arc::clone(&kept.behind), Arc::downgrade(&hot));
            let mut head = hot.store.head();
            let follow = async move {
                loop {
                    let mut is_wanted = tokio::select! {
                        () = behind.notified() => true,
                        changed = head.changed() => if changed.is_err() { return } else { false },
                    };
                    // Where nobody waits for it, many commits are one piece of news.
                    if !is_wanted {
                        is_wanted = timeout(ON_THEIR_WAY, behind.notified()).await.is_ok();
                    }
                    let Some(hot) = here.upgrade() else { return };
                    let newest = *head.borrow_and_update();
                    hot.catch_up(newest, is_wanted).await;
                }
            };
            kept.follower.get_or_init(|| tokio::spawn(follow).abort_handle());
        }
        hot
    }

    /// The record of a key, if it is in memory and what the store has.
    #[must_use]
    pub fn kept(&self, key: &Key) -> Option<Arc<Held>> {
        self.kept.as_ref()?.get(key, self.store.generation())
    }

    /// Counts a read that is not to be answered from memory.
    pub fn passed_by(&self) {
        if let Some(kept) = &self.kept {
            kept.counts.bypasses.fetch_add(1, Relaxed);
        }
    }

    /// What the store has for a key. It is in memory then.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn fetch(&self, key: &Key) -> Result<Found, StoreError> {
        let asked = self.kept.as_ref().map(|kept| kept.known.ask(self.store.generation()));
        let reading = self.store.read(&[Query::Get(key.clone())]).await?;
        let revision = reading.revision;
        if let (Some(kept), Some(asked)) = (&self.kept, &asked) {
            kept.known.told(asked, revision, self.store.generation());
        }
        let Some(record) = reading.records().pop() else { return Ok(Found::Nothing(revision)) };
        let mut held = Held::once(record);
        if let (Some(kept), Some(asked), Some(told)) = (&self.kept, asked, may_be_kept(&held.record)) {
            held.mark = kept.known.mark(&asked, revision, key, told);
        }
        let held = Arc::new(held);
        if let Some(kept) = self.kept.as_ref().filter(|_| held.mark.is_some()) {
            kept.records.insert(key.clone(), Arc::clone(&held));
        }
        Ok(Found::Here(held))
    }

    /// Reads what is missing of the log, as far as it is to be had. Commits of this process tell of themselves, and others
    /// here may be reading the log, so that is done only where no more is heard; and where nobody waits for it
    /// (`is_wanted`), only when no commit is under way.
    async fn catch_up(&self, newest: u64, mut is_wanted: bool) {
        let Some(kept) = &self.kept else { return };
        while let Some((before, _)) = kept.known.missing(newest) {
            if is_wanted {
                tokio::time::sleep(ON_THEIR_WAY).await;
            } else if timeout(ON_THEIR_WAY, kept.behind.notified()).await.is_ok() {
                is_wanted = true;
                continue;
            }
            let Some((through, wanted)) = kept.known.missing(newest) else { return };
            if through > before || (!is_wanted && kept.committing.load(Relaxed) > 0) {
                continue;
            }
            if kept.records.is_empty() || wanted - through > FAR {
                kept.clear();
                return;
            }
            match self.log(through, PAGE).await {
                Ok(page) if !page.is_empty() => {}
                Err(StoreError::Trimmed { .. }) => kept.clear(),
                // Nothing is answered from memory meanwhile; who comes next has it tried again.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// How memory has been used so far.
    #[must_use]
    pub fn used(&self) -> Used {
        let Some(Kept { records, counts, .. }) = &self.kept else { return Used::default() };
        let Counts { hits, misses, bypasses } = counts;
        let [hits, misses, bypasses] = [hits, misses, bypasses].map(|count| count.load(Relaxed));
        Used { hits, misses, bypasses, records: records.len() as u64, bytes: records.weight() }
    }
}

impl Kept {
    fn get(&self, key: &Key, generation: u64) -> Option<Arc<Held>> {
        let held = self.records.get(key);
        let mark = held.as_ref().and_then(|held| held.mark);
        let verdict = mark.map_or(Verdict::Changed, |mark| self.known.judge(&mark, generation));
        let count = match verdict {
            Verdict::Current => &self.counts.hits,
            Verdict::Changed => &self.counts.misses,
            Verdict::Unproven | Verdict::ToBeRenewed => &self.counts.bypasses,
            Verdict::Behind => {
                self.behind.notify_one();
                &self.counts.bypasses
            }
        };
        count.fetch_add(1, Relaxed);
        held.filter(|_| verdict == Verdict::Current)
    }

    fn clear(&self) {
        self.known.clear();
        self.records.clear();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.get() {
            follower.abort();
        }
    }
}

/// Whether a record may be kept, and then, whether all that may become of it is told by events. That a host gets a lifetime
/// by a put of what it is already is none; of an ephemeral every put is one, but for what renews a lease.
fn may_be_kept(record: &Record) -> Option<bool> {
    use Collection::{Applications, Configurations, Ephemerals, Hosts, Services};
    match record.key.collection() {
        _ if record.lease.is_some() => None,
        Ephemerals => Some(true),
        Hosts | Services | Applications | Configurations => Some(false),
        _ => None,
    }
}
