//! Writing to stdout: so that a reader who stops reading ends the command quietly.

use std::io::{self, ErrorKind, Write};

use super::failure::Failure;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// The server's JSON, as it came.
    Json,
}

/// `--output`, the same for every command that has it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Output {
    /// For people, or for programs
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: Format,
}

impl Output {
    /// Whether the server's JSON is wanted.
    pub fn json(self) -> bool {
        self.output == Format::Json
    }
}

/// Writes bytes as they are.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
        Err(error) => Err(Failure::from_error("stdout cannot be written", &error)),
    }
}

/// Writes a text, and ends its last line if it does not end itself.
pub fn text(text: &str) -> Result<(), Failure> {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    bytes(format!("{text}{end}").as_bytes())
}

/// Adds a remark for a person, beside the output. When stderr is closed, nobody wants it.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
