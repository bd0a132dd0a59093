"""Evidence, on the demo's bundle: $WATERMARK_DEMO is its folder, $WATERMARK the command line. Skipped without them."""

import base64
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import watermark_core as w

DEMO, COMMAND = os.environ.get("WATERMARK_DEMO"), os.environ.get("WATERMARK")


class Files(unittest.TestCase):
    def test_what_cannot_be_read_raises_and_what_does_not_hold_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "e.json")
            with self.assertRaises(w.EvidenceError) as raised:
                w.Evidence.load(path)
            self.assertIn("e.json", str(raised.exception))
            for content in (b"", b"{}", b"\xff" * 100, b"[" * 100_000, os.urandom(1000)):
                path.write_bytes(content)
                found = w.Evidence.load(path).verify()
                self.assertFalse(found.integrity or found.holds)
                self.assertEqual([code for code, _ in found.faults][0], "E-ENVELOPE")
                self.assertIsNone(found.result)
                self.assertIsNone(found.signers)
            with self.assertRaises(w.InputError):
                w.Evidence.load(path).verify(trusted_keys=["5a"])


@unittest.skipUnless(DEMO and COMMAND, "no demo ($WATERMARK_DEMO, $WATERMARK)")
class Bundle(unittest.TestCase):
    def setUp(self):
        self.path = pathlib.Path(DEMO, "evidence.json")
        self.evidence = w.Evidence.load(self.path)

    def terminal(self, *options):
        done = subprocess.run([COMMAND, "verify", self.path, "--json", *options], capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout)

    def test_it_says_what_the_terminal_says(self):
        data = pathlib.Path(DEMO, "student.jsonl")
        for options, arguments in [((), {}), (("--data", data), {"data": data})]:
            code, expected = self.terminal(*options)
            found = self.evidence.verify(**arguments)
            self.assertEqual(found.to_dict(), expected)
            self.assertEqual(found.holds, code == 0)
        self.assertTrue(found.integrity)
        self.assertEqual((found.faults, found.recomputed), ([], [str(data)]))
        self.assertEqual(found.result["verdict"], expected["result"]["verdict"])
        self.assertEqual(found.cautions, expected["cautions"])
        self.assertEqual(found.headline, expected["headline"])
        self.assertEqual(found.conditions, [(one["name"], one["standing"], one["says"]) for one in expected["conditions"]])
        # What to do is said in the words of this interface.
        keywords = [what.replace("--trusted-key", "trusted_keys").replace("--data", "data") for what in expected["not_checked"]]
        self.assertEqual(found.not_checked, keywords)
        self.assertFalse(any("--" in what for what in keywords))
        self.assertLess(found.times["head"], found.times["bundle"])
        self.assertIn("holds", found._repr_html_())
        self.assertIn("integrity=True", repr(found))

    def test_trust_is_told_apart(self):
        self.assertIsNone(self.evidence.verify().trust)
        with self.assertRaises(w.WatermarkError) as raised:
            self.evidence.verify(authority="/nowhere.pem")
        self.assertIn("/nowhere.pem", str(raised.exception))
        signers = set(self.evidence.verify().signers.values())
        self.assertEqual(self.evidence.verify(trusted_keys=sorted(signers)).trust, "trusted")
        if len(signers) == 1:
            self.assertEqual(self.evidence.verify(trusted_keys=next(iter(signers)).upper()).trust, "trusted")
        stranger = self.evidence.verify(trusted_keys=["58" + "66" * 31])
        self.assertEqual((stranger.trust, stranger.integrity, stranger.holds), ("not_trusted", True, False))
        self.assertEqual({code for code, _ in stranger.faults}, {"E-TRUST"})

    def test_changes_are_found(self):
        envelope = json.loads(self.path.read_text())
        statement = json.loads(base64.b64decode(envelope["payload"]))
        statement["predicate"]["suspect"]["log10_p"] -= 1
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        with tempfile.TemporaryDirectory() as folder:
            changed = pathlib.Path(folder, "<img>.json")
            changed.write_text(json.dumps(envelope))
            found = w.Evidence.load(changed).verify()
            self.assertFalse(found.integrity)
            self.assertTrue(all(code.startswith("E-") and what for code, what in found.faults))
            self.assertIsNone(found.result)
            other = pathlib.Path(folder, "<img>.jsonl")
            other.write_text('{"text": "something else"}\n')
            found = self.evidence.verify(data=[other])
            self.assertEqual([code for code, _ in found.faults], ["E-DATA"])
            self.assertNotIn("<img", found._repr_html_())


if __name__ == "__main__":
    unittest.main()
