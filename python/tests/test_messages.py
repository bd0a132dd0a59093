"""Advice in errors of the library is written for the terminal; what reaches Python has to name keywords instead."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLKIT = ROOT / "watermark-toolkit" / "src"

# Options in messages that stay as they are, and why.
STAYS = {
    "--controls": "evidence is put together at the terminal",
    "--help": "of `watermark test-model`, which Python has not",
    "--memory": "stands in a whole command",
    "--partials": "stands in a whole command",
    "--passphrase-file": "python/src/error.rs cuts out the words that name it",
    "--per-account": "stands in a whole command",
    "--reference": "evidence is put together at the terminal",
    "--pool": "evidence is put together at the terminal",
    "--requests": "evidence is put together at the terminal",
    "--shard": "scans on several machines are the terminal's",
    "--shard-size": "Python scans with shards of the usual size",
}


def options_in_messages():
    """The options in the toolkit's strings, without those of comments and tests."""
    found = set()
    for path in TOOLKIT.rglob("*.rs"):
        if "tests" in path.stem or "tests" in path.parent.parts:
            continue
        text = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("//")]
        found.update(re.findall(r"(?<![\w-])--[a-z][a-z-]*", "\n".join(lines)))
    return found


class Messages(unittest.TestCase):
    def test_every_option_in_a_message_has_a_keyword_or_a_reason(self):
        source = (ROOT / "python" / "src" / "error.rs").read_text()
        keywords = set(re.findall(r'\("(--[a-z-]+)", "\w+"\)', source))
        found = options_in_messages()
        self.assertGreater(len(found), 10)
        self.assertEqual(found - keywords - set(STAYS), set())
        self.assertEqual(keywords & set(STAYS), set())
        self.assertEqual(set(STAYS) - found, set(), "no message names these any more")
        self.assertEqual(keywords - found, set(), "no message names these any more")


if __name__ == "__main__":
    unittest.main()
