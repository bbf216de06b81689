/// A command and what it prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// For bash; without the `&` of one in the background.
    pub command: String,
    /// Whether it stays in the background.
    pub background: bool,
    /// The lines it is shown to print.
    pub shown: Vec<String>,
}

impl Step {
    /// A command in the background, of which nothing is shown.
    pub fn background(line: &str) -> Self {
        Self::of(line)
    }

    fn of(line: &str) -> Self {
        let (command, background) = match line.strip_suffix(" &") {
            Some(command) => (command, true),
            None => (line, false),
        };
        Self { command: command.to_owned(), background, shown: Vec::new() }
    }
}

/// The steps of all `console` blocks.
pub fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        if info.trim() == "console" {
            steps.extend(steps_of(&block));
        }
    }
    steps
}

fn steps_of(block: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = block.iter();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("$ ") else {
            let step = steps.last_mut().unwrap_or_else(|| panic!("a block begins with output: {line:?}"));
            step.shown.push((*line).to_owned());
            continue;
        };
        let mut command = first.to_owned();
        while command.ends_with('\\') {
            command = command + "\n" + lines.next().expect("a command goes on");
        }
        steps.push(Step::of(&command));
    }
    for step in &mut steps {
        while step.shown.last().is_some_and(|line| line.trim().is_empty()) {
            step.shown.pop();
        }
    }
    steps
}

/// Whether a line is what was shown for it.
pub fn matches(shown: &str, line: &str) -> bool {
    let parts: Vec<&str> = shown.trim_end().split('…').collect();
    let line = line.trim_end();
    let [first, middle @ .., last] = parts.as_slice() else { return shown.trim_end() == line };
    let Some(mut rest) = line.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
    middle.iter().all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Holds what a command printed against what is shown for it: the shown lines that it did not print and that
/// something in the background must have, or the first printed line that is not shown.
pub fn unprinted<'a>(shown: &'a [String], printed: &[&str]) -> Result<Vec<&'a str>, String> {
    if shown.is_empty() {
        return Ok(Vec::new());
    }
    let (mut at, mut missing, mut any) = (0, Vec::new(), false);
    for line in shown {
        if line.trim() == "…" {
            any = true;
            continue;
        }
        let found = printed[at..].iter().position(|printed| matches(line, printed));
        match found {
            Some(skipped) if skipped == 0 || any => (at, any) = (at + skipped + 1, false),
            _ => missing.push(line.as_str()),
        }
    }
    match printed.get(at) {
        Some(line) if !any => Err(format!("it printed a line that is not shown: {line:?}")),
        _ => Ok(missing),
    }
}

mod tests {
    use super::*;

    #[test]
    fn blocks_become_steps() {
        let text =
            "# x\n```console\n$ one &\n$ two \\\n    more\nsaid\n\n```\n```sh\n$ not\n```\n```console\n$ three\n```\n";
        let step = |command: &str, background, shown: &[&str]| Step {
            command: command.to_owned(),
            background,
            shown: shown.iter().map(|&line| line.to_owned()).collect(),
        };
        let wanted = [step("one", true, &[]), step("two \\\n    more", false, &["said"]), step("three", false, &[])];
        assert_eq!(steps(text), wanted);
    }

    #[test]
    fn dots_stand_for_anything() {
        assert!(matches("id … ok", "id 7 ok") && matches("…", "x") && matches("a…", "abc") && matches("x", "x"));
        assert!(matches("a … b … c", "a 1 b 2 c"));
        assert!(!matches("a…", "b") && !matches("a … c", "a b") && !matches("x", "xx") && !matches("aa…aa", "aaa"));
    }

    #[test]
    fn what_is_printed_and_not_shown_is_found() {
        let shown = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        assert_eq!(unprinted(&shown(&["a", "later"]), &["a"]), Ok(vec!["later"]));
        assert_eq!(unprinted(&shown(&["a", "…", "z"]), &["a", "b", "c", "z"]), Ok(vec![]));
        assert_eq!(unprinted(&shown(&["a", "…"]), &["a", "b"]), Ok(vec![]));
        assert_eq!(unprinted(&[], &["whatever"]), Ok(vec![]));
        assert!(unprinted(&shown(&["a"]), &["a", "b"]).is_err());
        assert!(unprinted(&shown(&["a", "b"]), &["b"]).is_ok_and(|missing| missing == ["a"]));
    }
}
