use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, MutexGuard, watch},
    task::JoinHandle,
    time::sleep,
};

use crate::{
    primitives::{
        Collection, Key, Name, Query, Record, millis,
        token::{self, Digest, Token},
    },
    store::{Feed, Store, StoreError},
};

/// How often it is made sure that nothing was missed.
const EVERY: Duration = Duration::from_secs(1);
/// How long the log has to tell of what is known to be in it.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long a store is left alone that could not be read.
const AGAIN: Duration = Duration::from_millis(250);
/// The longest sleep for an end by the wall clock, which may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// All tokens of a store, as its log tells of them.
pub struct Tokens {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    store: Arc<dyn Store>,
    feed: Feed,
    known: RwLock<Known>,
    /// Held while the store is read, so that what is taken over never is older than what is known.
    reading: Mutex<()>,
    /// Another number with each change.
    version: watch::Sender<u64>,
    start: Instant,
    /// Up to when all changes are known: in milliseconds since the start.
    heard: AtomicU64,
    /// When the store could not be read the last time.
    failed: AtomicU64,
    /// Up to which revision all changes are known.
    position: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<Name, Entry>,
    /// By the digests of their secrets. Two tokens can have the same only when somebody chose it.
    by_digest: HashMap<Digest, Vec<Arc<Token>>>,
    by_subject: HashMap<String, Arc<Token>>,
}

struct Entry {
    /// What tells the record from what it was before: its revision and its time, since a store that lost its last
    /// commits gives their revisions again.
    changed: (u64, i64),
    /// `None` is one that this version does not understand.
    token: Option<Arc<Token>>,
}

impl Tokens {
    /// How long the log may be silent before the store is asked: for so long, and no longer, a token may count here
    /// that was revoked elsewhere while this process cannot reach the store.
    pub const BOUND: Duration = Duration::from_secs(5);

    pub(super) async fn start(store: Arc<dyn Store>, feed: Feed) -> Self {
        let shared = Arc::new(Shared {
            store,
            feed,
            known: RwLock::default(),
            reading: Mutex::default(),
            version: watch::Sender::new(1),
            start: Instant::now(),
            heard: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            position: watch::Sender::new(0),
        });
        // When the store is away, no token counts until it is back.
        let _ = shared.reload().await;
        let task = tokio::spawn(follow(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Sees to it that what is known is not older than [`Tokens::BOUND`].
    ///
    /// # Errors
    /// Those of [`Store::read`], when it would be.
    pub(super) async fn fresh(&self) -> Result<(), StoreError> {
        if self.shared.is_fresh() { Ok(()) } else { self.shared.refresh().await }
    }

    /// Has it know how one token is in the store now: after this returns, this process goes by it.
    ///
    /// # Errors
    /// Those of [`Store::read`]; then no token counts here before the store was asked.
    pub async fn learn(&self, id: &Name) -> Result<(), StoreError> {
        let learned = self.shared.learn(&[token::key(id)]).await;
        if learned.is_err() {
            self.shared.heard.store(0, Ordering::Release);
        }
        learned
    }

    /// Waits until all changes up to a revision are known. Whoever acts on an event goes by the tokens as they are since
    /// then, and not as they were before.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn at_least(&self, revision: u64) -> Result<(), StoreError> {
        if *self.shared.position.borrow() >= revision {
            return Ok(());
        }
        let mut position = self.shared.position.subscribe();
        let heard = position.wait_for(|position| *position >= revision);
        // The log is not followed where there are no tokens, and comes late where it is a long one.
        if tokio::time::timeout(PATIENCE, heard).await.is_ok() {
            return Ok(());
        }
        // Whatever was committed before is in what is read now.
        self.shared.reload().await.map(drop)
    }

    /// The token of an id.
    #[must_use]
    pub fn get(&self, id: &Name) -> Option<Arc<Token>> {
        self.of_id(id).map(|(token, _)| token)
    }

    pub(super) fn of_id(&self, id: &Name) -> Option<(Arc<Token>, u64)> {
        self.shared.look(|known| known.by_id.get(id)?.token.as_ref().map(Arc::clone))
    }

    /// The token that a secret opens, or would if it had not expired.
    pub(super) fn of_secret(&self, digest: &Digest) -> Option<(Arc<Token>, u64)> {
        let now = millis();
        let opens = |token: &&Arc<Token>| {
            token.digest == *digest || token.old.as_ref().is_some_and(|(old, until)| old == digest && now < *until)
        };
        self.shared.look(|known| {
            let of_it = known.by_digest.get(digest)?.iter().filter(opens);
            // Of two with the same secret the one that still counts.
            of_it.min_by_key(|token| token.is_expired(now)).map(Arc::clone)
        })
    }

    pub(super) fn of_subject(&self, subject: &str) -> Option<(Arc<Token>, u64)> {
        self.shared.look(|known| known.by_subject.get(subject).map(Arc::clone))
    }

    /// Another number with each change.
    pub(super) fn version(&self) -> u64 {
        *self.shared.version.borrow()
    }

    /// Told of each change of any token.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until a token, or the grace of its old secret, may be over.
pub(super) async fn until_any_end(token: &Token) {
    let ends = [token.expires_at, token.old.as_ref().map(|(_, until)| *until)];
    let now = millis();
    let next = ends.into_iter().flatten().filter(|end| *end > now).min();
    let left = next.map(|end| Duration::from_millis(u64::try_from(end - now).unwrap_or_default()));
    sleep(left.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)).await;
}

impl Shared {
    fn now(&self) -> u64 {
        // Never 0, which is never.
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn is_fresh(&self) -> bool {
        let heard = self.heard.load(Ordering::Acquire);
        heard > 0 && self.now().saturating_sub(heard) < Tokens::BOUND.as_millis() as u64
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, and of which version that is at least.
    fn look(&self, find: impl FnOnce(&Known) -> Option<Arc<Token>>) -> Option<(Arc<Token>, u64)> {
        // Read before: who has an old version looks again, who has a new one with an old token would not.
        let version = *self.version.borrow();
        find(&self.known()).map(|token| (token, version))
    }

    /// Reads all tokens, unless another did so while this waited for its turn.
    async fn refresh(&self) -> Result<(), StoreError> {
        let asked = self.now();
        let turn = self.reading.lock().await;
        if self.is_fresh() {
            return Ok(());
        }
        // Those that wait for a store that is away share its failure, and do not wait for it one after the other.
        if self.failed.load(Ordering::Acquire) >= asked {
            return Err(StoreError::Unavailable("the tokens could not be read".to_owned()));
        }
        self.read_all(turn).await.map(drop)
    }

    /// Reads all tokens; the revision that they are of.
    async fn reload(&self) -> Result<u64, StoreError> {
        let turn = self.reading.lock().await;
        self.read_all(turn).await
    }

    async fn read_all(&self, _turn: MutexGuard<'_, ()>) -> Result<u64, StoreError> {
        let began = self.now();
        let reading = self.store.read(&[token::all()]).await.inspect_err(|_| {
            self.failed.store(self.now(), Ordering::Release);
        })?;
        let revision = reading.revision;
        let records = reading.records();
        let changed = {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let gone: Vec<Name> = known.by_id.keys().filter(|id| !is_among(id, &records)).cloned().collect();
            for id in &gone {
                known.forget(id);
            }
            records.iter().fold(!gone.is_empty(), |changed, record| known.take(record) | changed)
        };
        self.tell(changed);
        // Also backwards, when the store has lost commits.
        self.position.send_replace(revision);
        self.heard.fetch_max(began, Ordering::AcqRel);
        Ok(revision)
    }

    async fn learn(&self, keys: &[Key]) -> Result<(), StoreError> {
        let _turn = self.reading.lock().await;
        let queries: Vec<Query> = keys.iter().cloned().map(Query::Get).collect();
        let reading = self.store.read(&queries).await?;
        let changed = {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let one = |changed, (key, answer): (&Key, &crate::primitives::Answer)| {
                changed
                    | match answer.records.first() {
                        Some(record) => known.take(record),
                        None => Name::parse(&key.name()).is_ok_and(|id| known.forget(&id)),
                    }
            };
            keys.iter().zip(&reading.answers).fold(false, one)
        };
        self.tell(changed);
        Ok(())
    }

    fn tell(&self, changed: bool) {
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
    }
}

fn is_among(id: &Name, records: &[Record]) -> bool {
    // In the order of their keys.
    records.binary_search_by(|record| record.key.cmp(&token::key(id))).is_ok()
}

impl Known {
    /// Takes a token over as it is in the store; whether it was another before.
    fn take(&mut self, record: &Record) -> bool {
        let Ok(id) = Name::parse(&record.key.name()) else { return false };
        let changed = (record.revision, record.updated_at);
        if self.by_id.get(&id).is_some_and(|entry| entry.changed == changed) {
            return false;
        }
        self.forget(&id);
        let token = Token::stored(record).map(Arc::new);
        match &token {
            None => tracing::warn!(token = %id, "a token is not understood, and opens nothing; upgrade noah"),
            Some(token) => {
                for digest in digests(token) {
                    self.by_digest.entry(digest).or_default().push(Arc::clone(token));
                }
                if let Some(subject) = &token.subject {
                    self.by_subject.insert(subject.clone(), Arc::clone(token));
                }
            }
        }
        self.by_id.insert(id, Entry { changed, token });
        true
    }

    /// Whether it was known.
    fn forget(&mut self, id: &Name) -> bool {
        let Some(entry) = self.by_id.remove(id) else { return false };
        if let Some(token) = entry.token {
            for digest in digests(&token) {
                if let Some(of_it) = self.by_digest.get_mut(&digest) {
                    of_it.retain(|one| one.id != *id);
                    if of_it.is_empty() {
                        self.by_digest.remove(&digest);
                    }
                }
            }
            if let Some(subject) = &token.subject
                && self.by_subject.get(subject).is_some_and(|one| one.id == *id)
            {
                self.by_subject.remove(subject);
            }
        }
        true
    }
}

fn digests(token: &Token) -> impl Iterator<Item = Digest> + use<> {
    let old = token.old.as_ref().map(|(old, _)| *old).filter(|old| *old != token.digest);
    [Some(token.digest), old].into_iter().flatten()
}

/// Keeps what is known up to date, for as long as it is let.
async fn follow(shared: Arc<Shared>) {
    loop {
        match shared.reload().await {
            // The log is not read for tokens that are not there.
            Ok(_) if shared.known().by_id.is_empty() => sleep(EVERY).await,
            Ok(revision) => follow_from(&shared, revision).await,
            Err(error) => {
                tracing::debug!(%error, "tokens cannot be read; trying again");
                sleep(AGAIN).await;
            }
        }
    }
}

/// Follows the log from a revision, until all has to be read anew.
async fn follow_from(shared: &Shared, revision: u64) {
    let mut feed = shared.feed.subscribe(revision);
    // When the store was asked for its newest revision, and which that was.
    let mut asked: Option<(u64, u64)> = None;
    let mut every = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            read = feed.next() => match read {
                Ok(entries) => {
                    let of_tokens = entries.iter().map(|entry| &entry.event.record.key);
                    let keys: Vec<Key> =
                        of_tokens.filter(|key| key.collection() == Collection::Tokens).cloned().collect();
                    if !keys.is_empty() && shared.learn(&keys).await.is_err() {
                        return;
                    }
                    let position = feed.position();
                    shared.position.send_if_modified(|known| std::mem::replace(known, position.max(*known)) < position);
                }
                Err(StoreError::Trimmed { .. } | StoreError::Rewound { .. }) => return,
                Err(_) => sleep(AGAIN).await,
            },
            _ = every.tick(), if asked.is_none() => {
                let now = shared.now();
                match shared.store.read(&[]).await {
                    // It has lost what was followed.
                    Ok(reading) if reading.revision < feed.position() => return,
                    Ok(reading) => asked = Some((now, reading.revision)),
                    Err(_) => {}
                }
            }
        }
        if let Some((when, _)) = asked.filter(|(_, newest)| feed.position() >= *newest) {
            shared.heard.fetch_max(when, Ordering::AcqRel);
            asked = None;
        }
    }
}
