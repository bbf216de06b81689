//! README.md is run: each fenced block marked `console`, in order, in one directory, on one server.
//!
//! A line that starts with `$ ` is a command for bash (one that ends in a backslash goes on in the next line); what
//! follows it is what it prints. `…` in such a line stands for anything, alone on a line for any lines. A command
//! without output shown may print what it likes. One that ends in ` &` stays in the background until the end; what
//! it prints meanwhile may be shown below any command, as a terminal would. Ports 5678 and 8080 are rewritten to
//! free ones.

mod script;
mod shell;

use std::path::Path;

use script::{Step, steps};
use shell::Shell;

#[test]
fn the_readme_does_what_it_shows() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let steps = steps(&std::fs::read_to_string(file).unwrap());
    assert!(steps.len() >= 3, "README.md has next to no console blocks: {steps:?}");
    let mut shell = Shell::new();
    if !steps.iter().any(|step| step.command.starts_with("noah serve")) {
        shell.run(&Step::background("noah serve &"));
    }
    for step in &steps {
        shell.run(step);
    }
}
