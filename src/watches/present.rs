use std::sync::Arc;

use super::{watched::Watched, worker::Shared};

impl Watched {
    /// Delivers each record that the pattern matches, as it now is; then the log goes on from there.
    pub(super) async fn tell_present(self: &Arc<Self>, shared: &Shared) {
        self.state().notes.present = true;
        shared.cursors.changed(self);
    }
}
