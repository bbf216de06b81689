use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// A program that comes with the packages that `./check` has installed.
pub fn tool(name: &str) -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin").join(name);
    assert!(tool.exists(), "there is no {}: run ./check, it makes it", tool.display());
    tool
}

/// Where the scripts are.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/python")
}

/// A command that runs a script with these packages.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(tool("python3"));
    command.arg(scripts().join(name));
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
