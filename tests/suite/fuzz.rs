//! What reads bytes that others send, held against properties: inputs by hand, and those that `fuzz/run` found. The
//! search itself is not part of the suite.

mod checks;

use std::{fs, path::Path, time::Duration};

use checks::{TARGETS, Target};

/// What one of the inputs may cost here, where nothing is optimised.
const LIMIT: Duration = Duration::from_secs(2);

/// Checks all inputs that are kept for a target.
fn replay(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/fuzz/inputs").join(name);
    let mut checked = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        Target::named(name).run(&fs::read(&path).unwrap(), LIMIT);
        checked += 1;
    }
    assert!(checked > 0, "there is nothing in {}", folder.display());
}

macro_rules! replay {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name));
        })*

        #[test]
        fn every_check_has_its_test() {
            assert_eq!(TARGETS.map(|target| target.name), [$(stringify!($name)),*]);
        }
    };
}

replay!(
    patterns,
    paths,
    bodies,
    transactions,
    plugin,
    signatures,
    server_config,
    poke_config,
    endpoints,
    egress,
    policies,
    snapshots
);

/// Much of the same costs in proportion: were there anything that is read in a time that grows with the square of its
/// length, an input of this length would take far longer.
#[test]
fn no_input_costs_more_than_its_length() {
    const LENGTH: usize = 16 << 10;
    const MOTIFS: [&str; 36] = [
        "a", "/", "*/", "**/", "%", "%25", "%2F", "&a=b", "+", "[", "{\"a\":", "\"", "\\", "\\u0000", "{}", "[],", " ",
        "\n", "\t", ",", ".", "a.", "a.a=1\n", "[[a]]\n", "[a.", "#", "'", "=", "|", "@", ":", "deny a\n", "v1, ",
        "\u{e9}", "\0", "9",
    ];
    for target in &TARGETS {
        for (beginning, motif) in ["", beginning(target)].iter().flat_map(|begin| MOTIFS.map(|motif| (begin, motif))) {
            let input = format!("{beginning}{}", motif.repeat(LENGTH / motif.len()));
            println!("{}: {beginning:?} and many {motif:?}", target.name);
            target.run(input.as_bytes(), LIMIT / 2);
        }
    }
}

/// What has to come first, so that what follows is looked at.
fn beginning(target: &Target) -> &'static str {
    match target.name {
        "patterns" => "//noah/",
        "paths" => "/ephemerals/",
        "bodies" => "{\"tags\":[\"",
        "transactions" => "{\"ops\":[",
        "plugin" => "{\"noah\":1}\n",
        "signatures" => "whsec_",
        "endpoints" => "http://",
        "egress" => "allow ",
        "policies" => "read=//noah/",
        _ => "a = ",
    }
}
