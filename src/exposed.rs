//! Files with secrets that others than their owner can get at.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Warns when the file of a setting, which holds a secret, can be read or changed by anybody on this machine.
pub fn warn(file: &Path, setting: &str) {
    let Ok(meta) = fs::metadata(file) else { return };
    let mode = meta.permissions().mode();
    let (shown, hint) = (file.display(), "chmod 600 keeps what is in it secret");
    match (mode & 0o004 != 0, mode & 0o002 != 0) {
        (false, false) => {}
        (true, false) => tracing::warn!(setting, file = %shown, "anybody on this machine can read it; {hint}"),
        (false, true) => tracing::warn!(setting, file = %shown, "anybody on this machine can change it; {hint}"),
        (true, true) => {
            tracing::warn!(setting, file = %shown, "anybody on this machine can read and change it; {hint}")
        }
    }
}
