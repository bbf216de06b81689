use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{poke::config::Problem, primitives::SigningKey};

/// What Noah signs the pokes of this listener with: made at the first start, and kept in the state folder, since a watch
/// goes on only for who knows its secret.
///
/// # Errors
/// The file cannot be read or written, or holds something else.
pub fn key(folder: &Path) -> Result<SigningKey, Problem> {
    let file = folder.join("noah.secret");
    let refuse = |words: String| Problem::new(format!("{}: {words}", file.display()));
    match fs::read_to_string(&file) {
        Ok(text) => SigningKey::parse(text.trim())
            .map_err(|_| refuse("it holds no secret; remove it, and the listener makes another".to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = SigningKey::generate();
            // Written beside it and renamed, so that there is never half of one.
            let new = folder.join("noah.secret.new");
            let mut options = fs::File::options();
            let options = options.create(true).truncate(true).write(true).mode(0o600);
            let written = options.open(&new).and_then(|mut file| file.write_all(key.to_text().as_bytes()));
            written.and_then(|()| fs::rename(&new, &file)).map_err(|error| refuse(error.to_string()))?;
            Ok(key)
        }
        Err(error) => Err(refuse(error.to_string())),
    }
}
