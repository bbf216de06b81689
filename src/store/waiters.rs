use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::select_all;
use tokio::sync::{OnceCell, watch};

use super::{
    Store, StoreError,
    feed::{Tail, lock},
};
use crate::primitives::{Collection, Event, Query, Reading};

/// What events can be about, as far as somebody waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Topic {
    /// The record with this key.
    Key(String),
    /// The records whose keys begin like this.
    Under(String),
    /// Any record: what left an index is not told by its event.
    Any,
}

/// What has to happen for these queries to have other answers.
#[derive(Debug, Clone)]
struct Topics(Vec<Topic>);

impl Topics {
    fn of(queries: &[Query]) -> Self {
        let topics: HashSet<Topic> = queries.iter().map(topic).collect();
        if topics.contains(&Topic::Any) { Self(vec![Topic::Any]) } else { Self(topics.into_iter().collect()) }
    }

    /// Whether an event may be about one of them.
    fn include(&self, event: &Event) -> bool {
        let key = event.record.key.as_str();
        self.0.iter().any(|topic| match topic {
            Topic::Key(wanted) => key == wanted,
            Topic::Under(prefix) => key.starts_with(prefix),
            Topic::Any => true,
        })
    }

    /// Whether events that have nothing to do with the queries are among them.
    fn are_coarse(&self) -> bool {
        self.0.contains(&Topic::Any)
    }
}

fn topic(query: &Query) -> Topic {
    match query {
        Query::Get(key) => Topic::Key(key.as_str().to_owned()),
        Query::List(list) if !list.select.prefix.is_empty() => Topic::Under(list.select.prefix.clone()),
        Query::List(list) => all_of(&list.select.index),
        Query::Count(index) => all_of(index),
        Query::MembersOf(_) | Query::OwnedBy(_) => Topic::Any,
    }
}

/// The members of a collection have its name in their keys; those of other indexes can be anything.
fn all_of(index: &str) -> Topic {
    if Collection::parse(index).is_some() { Topic::Under(format!("{index}/")) } else { Topic::Any }
}

/// All who wait in this process, by what they wait for: an event finds those it concerns, however many others
/// there are.
#[derive(Default)]
pub(super) struct Waiters(Mutex<Places>);

#[derive(Default)]
struct Places {
    places: HashMap<Topic, Place>,
    /// How many topics there are of each length of a prefix: so many lookups an event costs.
    lengths: BTreeMap<usize, usize>,
    waiters: usize,
}

struct Place {
    news: watch::Sender<Arc<News>>,
    waiters: usize,
}

impl Waiters {
    /// How many wait now.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).waiters
    }

    /// Another one; it must [`Waiters::leave`].
    fn enter(&self, topics: &Topics) -> Vec<watch::Receiver<Arc<News>>> {
        let mut all = lock(&self.0);
        all.waiters += 1;
        topics.0.iter().map(|topic| all.enter(topic)).collect()
    }

    fn leave(&self, topics: &Topics) {
        let mut all = lock(&self.0);
        all.waiters -= 1;
        topics.0.iter().for_each(|topic| all.leave(topic));
    }

    /// Wakes those whom one of these events may concern, each of them once.
    pub(super) fn wake<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let all = lock(&self.0);
        if all.waiters == 0 {
            return;
        }
        let topics: HashSet<Topic> = events.flat_map(|event| all.topics_of(event)).collect();
        let found: Vec<_> = topics.iter().filter_map(|topic| all.places.get(topic)).map(sender).collect();
        drop(all);
        found.into_iter().for_each(tell);
    }

    /// Wakes everybody: what happened meanwhile is not known.
    pub(super) fn wake_all(&self) {
        let found: Vec<_> = lock(&self.0).places.values().map(sender).collect();
        found.into_iter().for_each(tell);
    }
}

fn sender(place: &Place) -> watch::Sender<Arc<News>> {
    place.news.clone()
}

fn tell(news: watch::Sender<Arc<News>>) {
    news.send_replace(Arc::new(News { readers: AtomicUsize::new(news.receiver_count()), reads: Mutex::default() }));
}

impl Places {
    fn enter(&mut self, topic: &Topic) -> watch::Receiver<Arc<News>> {
        if let Some(place) = self.places.get_mut(topic) {
            place.waiters += 1;
            return place.news.subscribe();
        }
        if let Topic::Under(prefix) = topic {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        let (news, receiver) = watch::channel(Arc::default());
        self.places.insert(topic.clone(), Place { news, waiters: 1 });
        receiver
    }

    fn leave(&mut self, topic: &Topic) {
        let Some(place) = self.places.get_mut(topic) else { return };
        place.waiters -= 1;
        if place.waiters > 0 {
            return;
        }
        self.places.remove(topic);
        if let Topic::Under(prefix) = topic
            && let Some(count) = self.lengths.get_mut(&prefix.len())
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// All topics that an event is about and somebody may wait for.
    fn topics_of(&self, event: &Event) -> Vec<Topic> {
        let key = event.record.key.as_str();
        let prefixes = self.lengths.keys().filter_map(|length| key.get(..*length));
        let under = prefixes.map(|prefix| Topic::Under(prefix.to_owned()));
        [Topic::Key(key.to_owned()), Topic::Any].into_iter().chain(under).collect()
    }
}

/// One who waits for a [`Feed`] to tell of something; no longer when it is dropped.
pub struct Waiter {
    tail: Arc<Tail>,
    topics: Topics,
    news: Vec<watch::Receiver<Arc<News>>>,
}

impl Waiter {
    pub(super) fn new(tail: Arc<Tail>, queries: &[Query]) -> Self {
        let topics = Topics::of(queries);
        Self { news: tail.waiters.enter(&topics), tail, topics }
    }

    /// Waits until an event may concern what it waits for, or it is not known whether one did. What happened since
    /// the waiter was made counts, so who looks at the store in between misses nothing.
    pub async fn changed(&mut self) -> Arc<News> {
        let at = match &mut self.news[..] {
            [one] => one.changed().await.map(|()| 0),
            many => {
                let (changed, at, _) = select_all(many.iter_mut().map(|one| Box::pin(one.changed()))).await;
                changed.map(|()| at)
            }
        };
        match at {
            Ok(at) => Arc::clone(&self.news[at].borrow_and_update()),
            // A place stays as long as somebody waits there.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether it is woken by events too that have nothing to do with its queries.
    #[must_use]
    pub fn is_coarse(&self) -> bool {
        self.topics.are_coarse()
    }

    /// Whether an event may be one that it waits for.
    #[must_use]
    pub fn is_about(&self, event: &Event) -> bool {
        self.topics.include(event)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.tail.waiters.leave(&self.topics);
    }
}

/// That something happened. All who were woken by it share what they then read.
#[derive(Default)]
pub struct News {
    /// How many were told and have not looked yet.
    readers: AtomicUsize,
    reads: Mutex<HashMap<Vec<Query>, Read>>,
}

type Read = Arc<OnceCell<Arc<Reading>>>;

impl News {
    /// What the store answers now, or answered since this happened: the same to all who ask the same. `seen` is the
    /// revision of what the one who asks has read before, so that it reads nothing older.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn read(&self, store: &dyn Store, queries: &[Query], seen: u64) -> Result<Arc<Reading>, StoreError> {
        let read: Read = Arc::clone(lock(&self.reads).entry(queries.to_vec()).or_default());
        let reading = read.get_or_try_init(|| async { store.read(queries).await.map(Arc::new) }).await?;
        // What nobody will ask for any more is not kept until the next event.
        if self.readers.fetch_sub(1, Ordering::Relaxed) <= 1 {
            lock(&self.reads).clear();
        }
        if reading.revision < seen {
            // It was read for the others before this one came.
            return store.read(queries).await.map(Arc::new);
        }
        Ok(Arc::clone(reading))
    }
}
