//! `noah txn`

use std::{
    io::Write,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{Noah, command, free_port, on_both_stores};

/// Runs `noah txn` with this on stdin: its exit code, stdout and stderr.
fn run(url: &str, args: &[&str], stdin: &str) -> (Option<i32>, String, String) {
    let mut child = command();
    let child = child.arg("txn").args(args).args(["--url", url]).stdin(Stdio::piped());
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn ops(ops: &Value) -> String {
    json!({ "ops": ops }).to_string()
}

async fn it_sends_a_file_or_stdin_and_tells_what_was_done(noah: Noah) {
    let file = noah.database.dir().join("move.json");
    let first = ops(&json!([
        {"put": "/ephemerals/db/master", "data": "db2"},
        {"put": "/hosts/h", "body": {"status": "up"}},
        {"check": "/hosts/old", "absent": true},
    ]));
    std::fs::write(&file, first).unwrap();
    let (code, out, err) = run(&noah.url(), &[file.to_str().unwrap()], "");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(
        out,
        "/ephemerals/db/master: created, revision 1\n/hosts/h: created, revision 2\n/hosts/old: as it should be\n\
         done at revision 2\n"
    );
    for args in [&[][..], &["-"]] {
        let (code, out, _) = run(&noah.url(), args, &ops(&json!([{"put": "/ephemerals/e", "data": "x"}])));
        assert!(code == Some(0) && out.starts_with("/ephemerals/e: "), "{out}");
    }
    let delete = ops(&json!([{"delete": "/ephemerals/e", "if_match": 4}]));
    let (code, out, _) = run(&noah.url(), &["--output", "json"], &delete);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["ops"][0]["action"], json["revision"].as_u64()), (Some(0), &json!("delete"), Some(5)));
}

async fn its_exit_code_says_how_it_went(noah: Noah) {
    let put = |condition: Value| {
        let mut put = json!({"put": "/hosts/h", "body": {"status": "up"}});
        put.as_object_mut().unwrap().extend(condition.as_object().unwrap().clone());
        ops(&json!([put]))
    };
    assert_eq!(run(&noah.url(), &[], &put(json!({"if_absent": true}))).0, Some(0));
    let (code, out, err) = run(&noah.url(), &[], &put(json!({"if_absent": true})));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("operation 0 (put /hosts/h)") && err.contains("revision 1"), "{err}");
    assert_eq!(run(&noah.url(), &[], "no JSON").0, Some(1));
    assert_eq!(run(&noah.url(), &["/no/such/file"], "").0, Some(2));
    let nobody = format!("http://127.0.0.1:{}", free_port());
    assert_eq!(run(&nobody, &[], &put(json!({}))).0, Some(3));
}

on_both_stores!(Noah:
    it_sends_a_file_or_stdin_and_tells_what_was_done,
    its_exit_code_says_how_it_went,
);
