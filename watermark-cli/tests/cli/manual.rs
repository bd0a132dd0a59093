use crate::support::Folder;

/// A page and completions for every command, also those that stand below another.
#[test]
fn completions_and_manual_pages() {
    let folder = Folder::new();
    folder.line("man pages").expect(0);
    for page in ["watermark.1", "watermark-detect.1", "watermark-key-commit.1", "watermark-pairs-test.1"] {
        let text = folder.read(&format!("pages/{page}"));
        assert!(text.contains(".TH watermark"), "{page}: {text}");
    }
    assert!(folder.read("pages/watermark-detect.1").contains("Exit codes"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = folder.line(&format!("completions {shell}")).expect(0).stdout;
        assert!(script.contains("test-model") && script.contains("per-record"), "{shell}");
    }
    folder.line("completions tcsh").fails_with(&["tcsh"]);
    folder.write("file", "");
    folder.line("man file/pages").fails_with(&["file/pages", "no manual pages"]);
}
