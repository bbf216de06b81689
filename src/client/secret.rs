//! Where a client finds the secret of its token. It is never part of a command line, which others on the machine see.

use std::{env, fs, path::Path};

use super::failure::Failure;
use crate::primitives::Hidden;

/// The variables that tell it: one holds the secret itself, the other names the file that does.
pub const VARIABLES: [&str; 2] = ["NOAH_TOKEN", "NOAH_TOKEN_FILE"];

/// The secret of the file that was named; else of `NOAH_TOKEN`; else of the file that `NOAH_TOKEN_FILE` names.
///
/// # Errors
/// The file cannot be read, or there is nothing in it.
pub fn find(file: Option<&Path>) -> Result<Option<Hidden>, Failure> {
    if let Some(file) = file {
        return read(file).map(Some);
    }
    let said = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
    match (said(VARIABLES[0]), said(VARIABLES[1])) {
        (Some(secret), _) => Ok(Some(Hidden::new(secret.trim()))),
        (None, Some(file)) => read(Path::new(&file)).map(Some),
        (None, None) => Ok(None),
    }
}

/// The secret in a file.
///
/// # Errors
/// It cannot be read, or there is nothing in it.
pub fn read(file: &Path) -> Result<Hidden, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("the token file {} cannot be read: {error}", file.display())))?;
    match text.trim() {
        "" => Err(Failure::usage(format!("the token file {} is empty", file.display()))
            .hint("it holds one line: the secret that `noah token create` shows")),
        secret => Ok(Hidden::new(secret)),
    }
}
