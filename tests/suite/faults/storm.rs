//! Faults at random: one or two at a time, for a moment or for some seconds, and then a little peace.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::{task::block_in_place, time::sleep};

use super::{
    proxy::{Mode, Way},
    world::World,
};
use crate::{linearizable::random::Random, support::Backend};

/// One thing that goes wrong, until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A process is killed, and started again.
    Kill(usize),
    /// A process is stopped, and goes on.
    Freeze(usize),
    RedisKilled,
    RedisFrozen,
    /// Connections of a process to Redis, or of watches to their endpoint.
    Network(Side, usize, Trouble),
    /// The disk is full but for so many bytes.
    FullDisk(u64),
    /// The wall clock is wrong by so many seconds.
    Clock(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Store,
    Endpoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Cut,
    Delay(u64),
    Half(Way),
    Stall,
}

impl Fault {
    /// What it is called where it is counted.
    fn name(self) -> &'static str {
        match self {
            Self::Kill(0 | 1) => "server killed",
            Self::Kill(_) => "agent killed",
            Self::Freeze(0 | 1) => "server frozen",
            Self::Freeze(_) => "agent frozen",
            Self::RedisKilled => "Redis killed",
            Self::RedisFrozen => "Redis frozen",
            Self::Network(Side::Store, _, trouble) => match trouble {
                Trouble::Cut => "connections to Redis cut",
                Trouble::Delay(_) => "connections to Redis delayed",
                Trouble::Half(_) => "connections to Redis halved",
                Trouble::Stall => "connections to Redis stalled",
            },
            Self::Network(Side::Endpoint, _, trouble) => match trouble {
                Trouble::Cut => "connections to endpoints cut",
                Trouble::Delay(_) => "connections to endpoints delayed",
                Trouble::Half(_) => "connections to endpoints halved",
                Trouble::Stall => "connections to endpoints stalled",
            },
            Self::FullDisk(_) => "disk full",
            Self::Clock(_) => "clock stepped",
        }
    }

    /// What it is about: no two are about the same at a time.
    fn target(self) -> (u8, usize) {
        match self {
            Self::Kill(process) | Self::Freeze(process) => (0, process),
            Self::RedisKilled | Self::RedisFrozen => (1, 0),
            Self::Network(Side::Store, which, _) => (2, which),
            Self::Network(Side::Endpoint, which, _) => (3, which),
            Self::FullDisk(_) => (4, 0),
            Self::Clock(_) => (5, 0),
        }
    }
}

/// How many there were of each.
pub type Faults = BTreeMap<&'static str, usize>;

/// Breaks things until then. What ends by itself, without having been killed, is told of.
/// Where there is little time each takes less of it.
pub async fn rage(world: &mut World, random: &mut Random, time: Duration, wrong: &mut Vec<String>) -> Faults {
    let until = Instant::now() + time;
    let pace = if time < Duration::from_secs(30) { 4 } else { 1 };
    let mut faults = Faults::new();
    while Instant::now() < until {
        let mut now = vec![any(world, random)];
        if random.up_to(3) == 0 {
            now.push(any(world, random));
        }
        now.dedup_by_key(|fault| fault.target());
        for fault in &now {
            *faults.entry(fault.name()).or_default() += 1;
            begin(world, *fault);
        }
        // Mostly a moment; sometimes longer than anybody counts as alive, or waits for an answer.
        let time = [50, 200, 500, 1_000, 1_500, 2_500, 4_000, 6_000][random.up_to(8) as usize];
        sleep(Duration::from_millis(time / 2 + random.up_to(time)) / pace).await;
        ended(world, &now, wrong);
        for fault in now.iter().rev() {
            end(world, *fault);
        }
        sleep(Duration::from_millis(200 + random.up_to(1_500))).await;
    }
    heal(world);
    faults
}

/// A fault that is possible here.
fn any(world: &World, random: &mut Random) -> Fault {
    let endpoint = random.up_to(world.endpoints.len() as u64) as usize;
    let process = random.up_to(3) as usize;
    let trouble = match random.up_to(6) {
        0 | 1 => Trouble::Cut,
        2 => Trouble::Delay(20 + random.up_to(400)),
        3 => Trouble::Half(Way::There),
        4 => Trouble::Half(Way::Back),
        _ => Trouble::Stall,
    };
    let redis = world.backend == Backend::Redis;
    match random.up_to(16) {
        0..4 => Fault::Kill(process),
        4..6 => Fault::Freeze(process),
        6..8 => Fault::Network(Side::Endpoint, endpoint, trouble),
        8 if world.clock.is_some() => Fault::Clock([-7_200, -600, -20, 20, 600, 7_200][random.up_to(6) as usize]),
        9..11 if redis => Fault::RedisKilled,
        11 if redis => Fault::RedisFrozen,
        12.. if redis => Fault::Network(Side::Store, process, trouble),
        9.. if world.disk.is_some() => Fault::FullDisk([0, 4_096, 20_000, 200_000][random.up_to(4) as usize]),
        _ => Fault::Kill(process),
    }
}

fn begin(world: &mut World, fault: Fault) {
    match fault {
        Fault::Kill(process) => world.processes[process].kill9(),
        Fault::Freeze(process) => world.processes[process].freeze(),
        Fault::RedisKilled => world.database.redis().kill(),
        Fault::RedisFrozen => world.database.redis().freeze(),
        Fault::Network(side, which, trouble) => {
            let proxy = if side == Side::Store { &world.stores[which] } else { &world.endpoints[which] };
            match trouble {
                Trouble::Cut => proxy.cut(),
                Trouble::Delay(millis) => proxy.set(Mode::Delay(Duration::from_millis(millis))),
                Trouble::Half(way) => proxy.set(Mode::Half(way)),
                Trouble::Stall => proxy.set(Mode::Stall),
            }
        }
        Fault::FullDisk(but) => block_in_place(|| world.disk.as_ref().expect("there is one").fill(but)),
        Fault::Clock(seconds) => world.clock.as_ref().expect("there is one").step(&format!("{seconds:+}")),
    }
}

fn end(world: &mut World, fault: Fault) {
    match fault {
        Fault::Kill(process) => world.processes[process].start(),
        Fault::Freeze(process) => world.processes[process].thaw(),
        Fault::RedisKilled => block_in_place(|| world.database.redis().restart()),
        Fault::RedisFrozen => world.database.redis().thaw(),
        Fault::Network(Side::Store, which, _) => world.stores[which].set(Mode::Pass),
        Fault::Network(Side::Endpoint, which, _) => world.endpoints[which].set(Mode::Pass),
        Fault::FullDisk(_) => world.disk.as_ref().expect("there is one").free(),
        // It stays as it is until it is stepped again: this is how clocks are wrong.
        Fault::Clock(_) => {}
    }
}

/// Starts again what ended by itself: nothing may, but that a server which starts on a full disk gives up.
fn ended(world: &mut World, now: &[Fault], wrong: &mut Vec<String>) {
    let is_full = now.iter().any(|fault| matches!(fault, Fault::FullDisk(_)));
    for process in &mut world.processes {
        if let Some(status) = process.ended() {
            if !is_full {
                wrong.push(format!("{} ended by itself with {status}", process.name));
            }
            process.start();
        }
    }
}

/// All is well again; what is still on its way in a proxy is lost. The clock stays as wrong as it is.
pub fn heal(world: &mut World) {
    for proxy in world.stores.iter().chain(&world.endpoints) {
        proxy.set(Mode::Pass);
        proxy.cut();
    }
}
