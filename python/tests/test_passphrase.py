"""Passphrases of sealed key files: from the file that the environment names, else asked for at the terminal."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

PASSPHRASE = "a passphrase for tests only"
#: The node of 32 bytes 5a at the root, as `watermark key export --new-passphrase-file` seals it.
SEALED = (
    '{"key":"watermark-key/2","path":"","kdf":"argon2id","memory_kib":65536,"passes":3,"lanes":4,'
    '"salt":"34b6036bf08221c1d5aea44cbfea0caa","cipher":"xchacha20poly1305","nonce":"db0335a384906e663542b50032bed96857529ffed29e235f",'
    '"sealed":"9d66898c1a5474720822ab5a96b95995c56278384679833db7f6c631697a96831edf7158c6114841e07ead91252157d9"}'
)
# Opens the key by every way that reads key files; `getpass` types what the test says.
OPENS = """
import getpass, sys
import watermark_core
from watermark_core import _lib

def typed(prompt):
    print(prompt)
    if sys.argv[1] == "interrupt":
        raise KeyboardInterrupt
    return sys.argv[1]

getpass.getpass = typed
try:
    assert watermark_core.NodeKey.from_file("k.json").commitment(bytes(32)) == _lib.node_key("5a" * 32).commitment(bytes(32))
    assert '"node": "' + "5a" * 32 in _lib.key_text("k.json")
except (watermark_core.KeyFileError, KeyboardInterrupt) as error:
    print(type(error).__name__, error)
else:
    print("opened")
"""


class Passphrases(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.write("k.json", SEALED)
        self.write("pass", PASSPHRASE + "\n")

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)

    def opens(self, typed, file=None, stderr=subprocess.DEVNULL):
        environment = {name: value for name, value in os.environ.items() if name != "WATERMARK_PASSPHRASE_FILE"}
        environment |= {"WATERMARK_PASSPHRASE_FILE": file} if file else {}
        run = subprocess.run(
            [sys.executable, "-c", OPENS, typed], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=stderr, text=True, check=True,
        )
        self.assertNotIn(PASSPHRASE, run.stdout)
        return run.stdout

    def test_a_file_of_the_environment_opens_keys_and_nobody_is_asked(self):
        self.assertEqual(self.opens("wrong", file="pass"), "opened\n")
        self.write("pass", PASSPHRASE + "x\n")
        self.assertIn("passphrase does not open it", self.opens("wrong", file="pass"))

    def test_without_a_terminal_nobody_is_asked(self):
        said = self.opens(PASSPHRASE)
        self.assertIn("KeyFileError", said)
        self.assertIn("set WATERMARK_PASSPHRASE_FILE to a file with it", said)

    @unittest.skipUnless(hasattr(os, "openpty"), "no terminals here")
    def test_at_a_terminal_python_asks(self):
        terminal, stderr = os.openpty()
        self.addCleanup(os.close, terminal)
        self.addCleanup(os.close, stderr)
        prompt = "Passphrase of k.json: \n"
        self.assertEqual(self.opens(PASSPHRASE, stderr=stderr), 2 * prompt + "opened\n")
        said = self.opens("wrong", stderr=stderr)
        self.assertTrue(said.startswith(prompt + "KeyFileError") and "passphrase does not open it" in said, said)
        # An interrupt at the question is one, and no wrong passphrase.
        self.assertEqual(self.opens("interrupt", stderr=stderr), prompt + "KeyboardInterrupt \n")


if __name__ == "__main__":
    unittest.main()
