use redis::{Script, aio::MultiplexedConnection};

use super::StoreError;
use crate::store::Durability;

/// The steps, in order; `meta`'s `schema` is the number of steps a namespace has taken.
const STEPS: [&str; 7] = [
    include_str!("../../../migrations/redis/0001_registry.lua"),
    include_str!("../../../migrations/redis/0002_owners.lua"),
    include_str!("../../../migrations/redis/0003_leases.lua"),
    include_str!("../../../migrations/redis/0004_cause.lua"),
    include_str!("../../../migrations/redis/0005_actor.lua"),
    include_str!("../../../migrations/redis/0006_denials.lua"),
    include_str!("../../../migrations/redis/0007_counts.lua"),
];

/// Takes the steps that are missing. Each is a script, and a script runs alone: of several servers that start
/// at once one takes it and the others find it taken.
pub(super) async fn migrate(connection: &mut MultiplexedConnection, prefix: &str) -> Result<(), StoreError> {
    for (number, step) in (1_u64..).zip(STEPS) {
        let script = Script::new(&format!(
            "local taken = tonumber(redis.call('HGET', KEYS[1] .. 'meta', 'schema') or '0')
             if taken >= {number} then return taken end
             local function step()\n{step}\nend
             step()
             redis.call('HSET', KEYS[1] .. 'meta', 'schema', {number})
             return 0"
        ));
        let found: u64 = script.key(prefix).invoke_async(connection).await?;
        let known = STEPS.len() as u64;
        if found > known {
            return Err(StoreError::TooNew { found, known });
        }
        if found == 0 {
            tracing::info!(schema = number, "the Redis store was migrated");
        }
    }
    Ok(())
}

/// Sets the newest revision to that of the log where a commit was stopped before it could.
pub(super) async fn heal(connection: &mut MultiplexedConnection, prefix: &str) -> Result<(), StoreError> {
    let healed: Vec<String> = Script::new(include_str!("heal.lua")).key(prefix).invoke_async(connection).await?;
    if let [head, newest] = healed.as_slice() {
        tracing::warn!(
            head,
            newest,
            "Redis has stopped a commit in its middle, so that a part of it is there; the store goes on behind it. Rights \
             of the store's user are to be changed while nobody works with it"
        );
    }
    Ok(())
}

/// Compares what was asked for with what Redis is set up to do: a promise it cannot keep is refused, a weaker
/// default, and a memory that forgets, are said once.
pub(super) async fn check_durability(
    connection: &mut MultiplexedConnection,
    wanted: Durability,
) -> Result<(), StoreError> {
    let setting = async |name: &str, connection: &mut MultiplexedConnection| -> Option<String> {
        let pair: Vec<String> = redis::cmd("CONFIG").arg("GET").arg(name).query_async(connection).await.ok()?;
        pair.into_iter().nth(1)
    };
    let policy = setting("maxmemory-policy", connection).await.unwrap_or_default();
    if policy.starts_with("allkeys-") {
        tracing::warn!(
            "Redis has maxmemory-policy {policy} and throws records away when its memory is full; \
             set it to noeviction, so that writes are refused instead"
        );
    }
    if wanted == Durability::None {
        return Ok(());
    }
    let (appendonly, appendfsync) = (setting("appendonly", connection).await, setting("appendfsync", connection).await);
    let (Some(appendonly), Some(appendfsync)) = (appendonly, appendfsync) else {
        tracing::warn!(%wanted, "Redis does not tell how durable it is (CONFIG GET is not allowed); see to it there");
        return Ok(());
    };
    let enough = appendonly == "yes"
        && (appendfsync == "always" || (wanted == Durability::Everysec && appendfsync == "everysec"));
    let found = format!("Redis has appendonly {appendonly} and appendfsync {appendfsync}");
    match wanted {
        _ if enough => Ok(()),
        Durability::Always => Err(StoreError::Misconfigured(format!(
            "durability always needs a Redis with appendonly yes and appendfsync always, but {found}; \
             set both in redis.conf, or start noah with a durability that Redis keeps"
        ))),
        _ => {
            tracing::warn!(
                "{found}: a crash of Redis loses more than the last second; \
                 set appendonly yes and appendfsync everysec, or start noah with --durability none"
            );
            Ok(())
        }
    }
}
