use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

/// How many attempts may be under way at the same time: at one host, so that one that hangs does not use up all,
/// and of one agent.
pub(super) struct Limits {
    agent: Arc<Semaphore>,
    per_host: usize,
    hosts: Mutex<HashMap<String, Host>>,
}

/// A host that attempts are under way at or wait for.
struct Host {
    free: Arc<Semaphore>,
    users: usize,
}

impl Limits {
    pub(super) fn new(agent: usize, per_host: usize) -> Self {
        Self { agent: Arc::new(Semaphore::new(agent)), per_host, hosts: Mutex::default() }
    }

    /// Waits until there is room for an attempt, which there is until the turn is dropped. Those that wait go in the
    /// order they came; who drops this waits no more.
    pub(super) async fn turn(&self, endpoint: &Url) -> Turn<'_> {
        // The host's turn comes first: what waits for a host that hangs must not keep others from their turn.
        let visit = Visit::at(self, endpoint);
        let here = match &visit {
            Some(visit) => acquire(&visit.free).await,
            None => None,
        };
        Turn { _anywhere: acquire(&self.agent).await, _here: here, _visit: visit }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one attempt.
pub(super) struct Turn<'a> {
    _anywhere: Option<OwnedSemaphorePermit>,
    _here: Option<OwnedSemaphorePermit>,
    _visit: Option<Visit<'a>>,
}

/// The semaphores are never closed.
async fn acquire(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.ok()
}

/// Keeps a host known while it is of use.
struct Visit<'a> {
    limits: &'a Limits,
    name: String,
    free: Arc<Semaphore>,
}

impl<'a> Visit<'a> {
    /// `None` for an endpoint that is at no host.
    fn at(limits: &'a Limits, endpoint: &Url) -> Option<Self> {
        let port = endpoint.port_or_known_default().unwrap_or_default();
        let name = format!("{}://{}:{port}", endpoint.scheme(), endpoint.host_str()?);
        let mut hosts = limits.hosts();
        let host = hosts
            .entry(name.clone())
            .or_insert_with(|| Host { free: Arc::new(Semaphore::new(limits.per_host)), users: 0 });
        host.users += 1;
        let free = Arc::clone(&host.free);
        drop(hosts);
        Some(Self { limits, name, free })
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut hosts = self.limits.hosts();
        if let Some(host) = hosts.get_mut(&self.name) {
            host.users -= 1;
            if host.users == 0 {
                hosts.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use futures_util::FutureExt;

    use super::*;

    async fn within<T>(limits: &Limits, endpoint: &Url, attempt: impl Future<Output = T>) -> T {
        let _turn = limits.turn(endpoint).await;
        attempt.await
    }

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    /// Whether an attempt at `endpoint` would be made now.
    fn has_room(limits: &Limits, endpoint: &str) -> bool {
        within(limits, &url(endpoint), async {}).now_or_never().is_some()
    }

    #[test]
    fn a_host_has_no_more_than_its_share_and_others_have_theirs() {
        let limits = Limits::new(4, 2);
        let endpoints = [url("http://h/a"), url("http://h:80/b")];
        let mut hanging: Vec<_> = endpoints.iter().map(|at| Box::pin(within(&limits, at, pending::<()>()))).collect();
        assert!(has_room(&limits, "http://h/c"), "nothing has begun");
        hanging.iter_mut().for_each(|attempt| assert!(attempt.now_or_never().is_none()));
        assert!(!has_room(&limits, "http://h/c"));
        for other in ["http://h:81/", "https://h/", "http://i/"] {
            assert!(has_room(&limits, other), "{other}");
        }
        drop(hanging);
        assert!(has_room(&limits, "http://h/c"));
    }

    #[test]
    fn an_agent_has_no_more_than_its_share_and_who_waits_for_a_host_takes_none_of_it() {
        let limits = Limits::new(2, 1);
        let (one, other) = (url("http://h/"), url("http://i/"));
        let mut first = Box::pin(within(&limits, &one, pending::<()>()));
        let mut waits = Box::pin(within(&limits, &one, pending::<()>()));
        assert!(first.as_mut().now_or_never().is_none() && waits.as_mut().now_or_never().is_none());
        assert!(has_room(&limits, "http://i/"));
        let mut second = Box::pin(within(&limits, &other, pending::<()>()));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(!has_room(&limits, "http://j/"), "both are taken");
        drop(second);
        assert!(has_room(&limits, "http://j/"));
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_there_is_room() {
        let limits = Arc::new(Limits::new(1, 1));
        let (done, end) = tokio::sync::oneshot::channel::<()>();
        let at = url("http://h/");
        let mut first = Box::pin(within(&limits, &at, async { end.await.unwrap() }));
        assert!(first.as_mut().now_or_never().is_none());
        let waiting = Arc::clone(&limits);
        let second = tokio::spawn(async move { within(&waiting, &url("http://h/"), async { 2 }).await });
        done.send(()).unwrap();
        first.await;
        assert_eq!(second.await.unwrap(), 2);
    }

    #[test]
    fn a_host_is_forgotten_when_nothing_is_there_or_waits() {
        let limits = Limits::new(4, 1);
        let at = url("http://h/");
        let mut first = Box::pin(within(&limits, &at, pending::<()>()));
        let mut waits = Box::pin(within(&limits, &at, pending::<()>()));
        assert!(first.as_mut().now_or_never().is_none() && waits.as_mut().now_or_never().is_none());
        assert_eq!(limits.hosts().len(), 1);
        drop(first);
        assert_eq!(limits.hosts().len(), 1, "one still waits");
        drop(waits);
        assert!(limits.hosts().is_empty());
    }
}
