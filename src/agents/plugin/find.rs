use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::Plugin;
use crate::agents::Options;

const PREFIX: &str = "noah-agent-";

/// The plug-ins in a directory: each executable file `noah-agent-SCHEME`. What looks like one and is none is said in
/// the log.
///
/// # Errors
/// When the directory cannot be read.
pub(in crate::agents) fn find(dir: &Path, options: &Options) -> Result<Vec<Plugin>, String> {
    let unreadable = |error| format!("the directory of plug-ins {} cannot be read: {error}", dir.display());
    // A relative name would be looked for somewhere else once a plug-in is started.
    let dir = dir.canonicalize().map_err(unreadable)?;
    let mut plugins = Vec::new();
    for entry in fs::read_dir(&dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let Some(scheme) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let path = entry.path();
        if !is_scheme(scheme) {
            tracing::warn!(
                ?path,
                "not a plug-in: the scheme after noah-agent- begins with a letter and has lower-case letters, digits, \
                 +, - and . only"
            );
        } else if !is_executable(&path) {
            tracing::warn!(?path, "not a plug-in: it is no file that may be executed; chmod +x it, or take it away");
        } else {
            plugins.push(Plugin::new(scheme.to_owned(), path, options));
        }
    }
    Ok(plugins)
}

/// A scheme as RFC 3986, section 3.1, has it, in the lower case that URLs are read in.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
