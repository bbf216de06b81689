//! One program for all targets: `NOAH_FUZZ` names the one to run, and the arguments are libFuzzer's own. `./run` calls it.
#![no_main]

// The checks are those of the suite, which keeps what was found.
#[path = "../../tests/suite/fuzz/checks/mod.rs"]
mod checks;

use std::{env, sync::OnceLock, time::Duration};

use checks::Target;
use libfuzzer_sys::fuzz_target;

/// What one input of up to 16 KiB may cost. It is far more than any needs, and far less than what grows with the square of
/// an input's length.
const LIMIT: Duration = Duration::from_millis(500);

static TARGET: OnceLock<&Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = env::var("NOAH_FUZZ").expect("NOAH_FUZZ names a target; fuzz/run sets it");
        TARGET.get_or_init(|| Target::named(&name));
    },
    |input: &[u8]| {
        if let Some(target) = TARGET.get() {
            target.run(input, LIMIT);
        }
    }
);
