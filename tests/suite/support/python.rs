use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// A command that runs a script of `tests/suite/python` with the packages that `./check` has installed for it.
pub fn script(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python: PathBuf = root.join("target/venv/bin/python3");
    assert!(python.exists(), "there is no {}: run ./check, it makes it", python.display());
    let mut command = Command::new(python);
    command.arg(root.join("tests/suite/python").join(name));
    command
}

/// Runs a script to its end: JSON in, JSON out.
pub fn ask(name: &str, input: &Value) -> Value {
    let mut command = script(name);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name} failed on {input}: {said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{name} said no JSON ({error}): {said}"))
}
