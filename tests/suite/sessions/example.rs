//! `examples/backends.sh`, as a user runs it.

use std::process::Stdio;

use crate::support::{Running, command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_backend_is_soon_known_to_the_balancer() {
    let noah = command();
    let bin = std::path::Path::new(noah.get_program()).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut sh = std::process::Command::new("sh");
    for (name, _) in noah.get_envs() {
        sh.env_remove(name);
    }
    sh.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/backends.sh")).env("PATH", path).stdin(Stdio::null());
    let (status, _, said) = Running::of(sh).end().await;
    assert!(status.success(), "{said}");
    let lists: Vec<&str> = said.lines().filter(|line| line.contains("backends are:")).collect();
    assert!(lists.last().is_some_and(|line| line.ends_with("expire, backends are: backend1 backend3 ")), "{said}");
    let knew = said.lines().last().unwrap();
    assert!(knew.contains("the balancer knew after"), "{said}");
    println!("{said}");
}
