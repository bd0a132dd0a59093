use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::leaks;

/// A fresh folder below cargo's own temporary one. At the end, no secret may be where it does not belong, in its files or in what
/// was printed; then it is removed.
pub(crate) struct Folder {
    path: PathBuf,
    printed: Mutex<Vec<u8>>,
}

static FOLDERS: AtomicU32 = AtomicU32::new(0);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("cli-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self { path, printed: Mutex::default() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// A file that only its owner may read.
    pub(crate) fn secret(&self, name: &str, content: impl AsRef<[u8]>) {
        self.write(name, content);
        std::fs::set_permissions(self.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// A key file with the same master key in every run, for what not every key shows as well.
    pub(crate) fn fixed_key(&self, name: &str) {
        self.secret(name, json!({"key": "watermark-key/1", "path": "", "node": "2a".repeat(32)}).to_string());
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Gives a layer of a profile a key per account.
    pub(crate) fn key_per_account(&self, profile: &str, layer: &str) {
        let mut changed: Value = serde_json::from_str(&self.read(profile)).unwrap();
        let layers = changed["layers"].as_array_mut().unwrap();
        layers.iter_mut().find(|found| found["name"] == layer).unwrap()["per"] = "account".into();
        self.write(profile, changed.to_string());
    }

    /// The lines of a file of JSON lines.
    pub(crate) fn json_lines(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs the program in this folder.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> ProcessOutput {
        self.run_with_stdin(arguments, "")
    }

    pub(crate) fn run_with_stdin<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        stdin: &str,
    ) -> ProcessOutput {
        use std::io::Write;
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // The program may end without reading.
        let _ = pipe.write_all(stdin.as_bytes());
        drop(pipe);
        self.ended(child)
    }

    /// What a child printed and how it ended.
    pub(crate) fn ended(&self, child: Child) -> ProcessOutput {
        let output = child.wait_with_output().unwrap();
        let mut printed = self.printed.lock().unwrap();
        printed.extend_from_slice(&output.stdout);
        printed.extend_from_slice(&output.stderr);
        ProcessOutput {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The program in this folder, to be started.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_watermark"));
        command.args(arguments).current_dir(&self.path).env_remove("WATERMARK_API_KEY");
        command
    }

    /// Runs a line of words.
    pub(crate) fn line(&self, line: &str) -> ProcessOutput {
        self.run(line.split_whitespace())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            leaks::check(&self.path, self.printed.get_mut().unwrap());
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[derive(Debug)]
pub(crate) struct ProcessOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl ProcessOutput {
    /// The exit code, with everything printed if it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// An error (exit 2) whose message holds every one of `parts`, and that did not panic.
    #[track_caller]
    pub(crate) fn fails_with(self, parts: &[&str]) {
        let run = self.expect(2);
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        for part in parts {
            assert!(run.stderr.contains(part), "{part:?} is not in:\n{}", run.stderr);
        }
    }

    /// stdout as JSON lines.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
