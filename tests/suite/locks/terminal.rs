//! Commands that somebody works with at a terminal, below `noah lock` and `noah session run`.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command},
    sync::{Arc, Mutex},
};

use crate::support::{Backend, Noah, eventually, leading, terminal};

/// A shell script at a terminal, in which `$NOAH` is the command.
struct Typing {
    keys: File,
    shown: Arc<Mutex<String>>,
    shell: Child,
}

impl Typing {
    fn script(noah: &Noah, script: &str) -> Self {
        let (keys, its) = terminal();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env("NOAH", env!("CARGO_BIN_EXE_noah")).env("NOAH_URL", noah.url());
        let [input, output, errors] = [(); 3].map(|()| its.try_clone().unwrap());
        let shell = leading(&mut shell).stdin(input).stdout(output).stderr(errors).spawn().unwrap();
        let (shown, mut screen) = (Arc::<Mutex<String>>::default(), keys.try_clone().unwrap());
        let said = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            // It fails when nobody has the other end any more.
            while let Ok(read) = screen.read(&mut bytes) {
                said.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Self { keys, shown, shell }
    }

    async fn shows(&self, words: &str) {
        let shown = || self.shown.lock().unwrap().contains(words).then_some(());
        eventually(words, || async { shown() }).await;
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

async fn asks_and_is_answered(words: &str) {
    let noah = Noah::on(Backend::Sqlite).await;
    let asks = r#"echo "name?"; read name; echo "hello $name""#;
    let mut typing = Typing::script(
        &noah,
        &format!("$NOAH {words} -- sh -c '{asks}'; echo 'and then?'; read then; echo \"so $then\""),
    );
    typing.shows("name?").await;
    // It is not to be suspended with the lock in its hands.
    typing.types("\x1a");
    typing.types("bob\n");
    typing.shows("hello bob").await;
    typing.shows("and then?").await;
    typing.types("home\n");
    typing.shows("so home").await;
}

#[tokio::test]
async fn a_command_with_a_lock_reads_what_is_typed() {
    asks_and_is_answered("lock l").await;
}

#[tokio::test]
async fn a_command_with_a_session_reads_what_is_typed() {
    asks_and_is_answered("session run").await;
}

#[tokio::test]
async fn ctrl_c_is_the_commands() {
    let noah = Noah::on(Backend::Sqlite).await;
    let waits = "trap \"echo stopped; exit 7\" INT; echo running; while :; do sleep 0.1; done";
    let mut typing = Typing::script(&noah, &format!("trap : INT; $NOAH lock l -- sh -c '{waits}'; echo \"code $?\""));
    typing.shows("running").await;
    typing.types("\x03");
    typing.shows("code 7").await;
    assert_eq!(typing.shown.lock().unwrap().matches("stopped").count(), 1);
    assert_eq!(noah.get("/locks/l").await.status, 404);
}
