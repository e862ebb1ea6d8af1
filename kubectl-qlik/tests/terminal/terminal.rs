//! A program at a pseudo-terminal: tests type keys, and read the screen as a person sees it.

use std::io::{Read as _, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::world::PLANTED;

/// Tall enough for the output of any test, so that nothing scrolls away.
const ROWS: u16 = 160;
const COLUMNS: u16 = 80;
/// Longer than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Special keys.
pub const ENTER: &str = "\r";
pub const CTRL_C: &str = "\x03";
pub const ESCAPE: &str = "\x1b";
pub const DOWN: &str = "\x1b[B";

/// A running program and its screen.
pub struct Terminal {
    shown: Arc<Mutex<Shown>>,
    reader: Option<JoinHandle<()>>,
    keyboard: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    _master: Box<dyn MasterPty + Send>,
}

struct Shown {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

/// The result of a program.
pub struct Ended {
    pub status: u32,
    pub screen: String,
    pub bytes: String,
}

impl Terminal {
    /// Starts a program with only this environment.
    pub fn start(program: &str, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(program);
        command.args(args);
        command.env_clear();
        command.env("TERM", "xterm-256color");
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let [rows, columns] = [ROWS, COLUMNS].map(|size| NonZeroU16::new(size).unwrap());
        let shown = Arc::new(Mutex::new(Shown { screen: vt100::Parser::new(rows, columns, 0), bytes: Vec::new() }));
        let mut output = pair.master.try_clone_reader().unwrap();
        let keep = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // After the program has ended, reading from the terminal returns an error.
            while let Ok(length @ 1..) = output.read(&mut chunk) {
                let mut shown = keep.lock().unwrap();
                shown.screen.process(&chunk[..length]);
                shown.bytes.extend_from_slice(&chunk[..length]);
            }
        });
        let keyboard = pair.master.take_writer().unwrap();
        Self { shown, reader: Some(reader), keyboard, child, _master: pair.master }
    }

    /// The text on the screen.
    pub fn screen(&self) -> String {
        let shown = self.shown.lock().unwrap();
        shown.screen.screen().contents().trim_end().to_owned()
    }

    /// Waits until the last lines of the screen contain this text, such as the current question.
    pub fn sees(&mut self, text: &str) -> &mut Self {
        let begin = Instant::now();
        loop {
            let screen = self.screen();
            let lines: Vec<&str> = screen.lines().collect();
            if lines[lines.len().saturating_sub(7)..].join("\n").contains(text) {
                self.has_no_secret_in_its_arguments();
                return self;
            }
            assert!(begin.elapsed() < PATIENCE, "{text:?} does not appear:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types keys.
    pub fn types(&mut self, keys: &str) -> &mut Self {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
        self
    }

    /// Waits for a question, and answers it.
    pub fn answers(&mut self, question: &str, answer: &str) -> &mut Self {
        self.sees(question);
        // Until the screen changes, it still ends with the answered question.
        let before = self.screen();
        self.types(answer).types(ENTER);
        let begin = Instant::now();
        while self.screen() == before && begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self
    }

    /// Waits until the program ends.
    pub fn ends(mut self) -> Ended {
        let begin = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.exit_code(),
                None => assert!(begin.elapsed() < PATIENCE, "the program does not end:\n{}", self.screen()),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        self.reader.take().unwrap().join().unwrap();
        let screen = self.screen();
        let bytes = String::from_utf8_lossy(&self.shown.lock().unwrap().bytes).into_owned();
        Ended { status, screen, bytes }
    }

    /// Checks the arguments, which every user of the machine can read.
    fn has_no_secret_in_its_arguments(&self) {
        let pid = self.child.process_id().unwrap();
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert_eq!(PLANTED.found(&String::from_utf8_lossy(&arguments)), None);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}
