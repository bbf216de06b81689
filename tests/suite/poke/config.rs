//! Settings, and what is refused of them.

use super::*;

#[test]
fn listening_beyond_loopback_is_refused_with_the_ways_out() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_noah")).arg("poke").args(arguments).output().expect("noah starts")
    };
    let refused = run(&["--listen", "0.0.0.0:0", "--", "true"]);
    assert_eq!(refused.status.code(), Some(2));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("--insecure") && words.contains("127.0.0.1"), "{words}");
    assert_eq!(run(&[]).status.code(), Some(2), "a command is needed");
}

#[test]
fn settings_that_mean_nothing_are_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let run = |settings: &str, more: &[&str]| {
        fs::write(directory.path().join("poke.toml"), settings).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_noah"))
            .args(["poke", "--state", "state", "--config", "poke.toml"])
            .args(more)
            .current_dir(directory.path())
            .output()
            .expect("noah starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, words) = run("[[hook]]\nname = \"a\"\nargv = [\"true\"]\ntimout = \"1s\"\n", &[]);
    assert_eq!(code, Some(2));
    assert!(words.contains("timout") && words.contains("timeout") && words.contains("poke.toml"), "{words}");
    assert_eq!(run("[listener]\n", &[]).0, Some(2), "there is nothing to run");
    let hook = "[[hook]]\nname = \"default\"\nargv = [\"true\"]\n";
    let (code, words) = run(hook, &["--", "true"]);
    assert_eq!(code, Some(2));
    assert!(words.contains("names have to differ"), "{words}");
    let (code, words) = run(&format!("[listener]\nlog_max_bytes = 100\n{hook}"), &[]);
    assert!(code == Some(2) && words.contains("or 0 to keep no files"), "{words}");
    let open = format!("[listener]\nlisten = \"0.0.0.0:0\"\n{hook}");
    let (code, words) = run(&open, &[]);
    assert_eq!(code, Some(2));
    assert!(words.contains("[trust]") && words.contains("--insecure"), "{words}");
    assert!(!directory.path().join("state").exists());
}

#[test]
fn a_command_runs_where_and_as_whom_the_file_says() {
    let settings = r#"
[[hook]]
name = "it"
argv = ["sh", "-c", "pwd; echo $GREETING; id -u; id -g; id -G"]
cwd = "/"
env = { GREETING = "hello" }
USER
"#;
    // SAFETY: takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let user = if is_root { "user = \"nobody\"" } else { "" };
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("poke.toml"), settings.replace("USER", user)).unwrap();
    let mut told = Command::new(env!("CARGO_BIN_EXE_noah"));
    told.env("NOAH_URL", "http://noah.example:5678");
    let poke = Poke::launch_as(&mut told, directory, &["--config", "poke.toml"]);
    let run = poke.run("{}");
    let lines: Vec<&str> = run["tail"].as_str().unwrap().lines().collect();
    assert_eq!(lines[..2], ["/", "hello"]);
    if is_root {
        let id = |flag: &str| {
            let said = Command::new("id").args([flag, "nobody"]).output().expect("id is there").stdout;
            String::from_utf8(said).unwrap().trim().to_owned()
        };
        assert_eq!(lines[2..], [id("-u"), id("-g"), id("-G")]);
    } else {
        println!("not root: as whom it runs was not looked at");
    }
}
