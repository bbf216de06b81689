//! `noah version`

use super::{Done, output};

/// Prints noah's version.
pub fn run() -> Done {
    output::text(concat!("noah ", env!("CARGO_PKG_VERSION")))
}
