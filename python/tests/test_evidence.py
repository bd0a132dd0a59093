"""Evidence, on the demo's bundle: $WATERMARK_DEMO is its folder, $WATERMARK the command line. Skipped without them."""

import array
import base64
import json
import os
import pathlib
import subprocess
import tempfile
import time
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


@unittest.skipUnless(COMMAND, "no command line ($WATERMARK)")
class Pairs(unittest.TestCase):
    def test_evidence_from_pairs_is_checked_too(self):
        """Two accounts, made-up scores: the suspect prefers what one of them was served."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            run = lambda *words: subprocess.run([COMMAND, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False)  # noqa: E731

            def made(*words, codes=(0,)):
                done = run(*words)
                self.assertIn(done.returncode, codes, (words, done.stderr))
                return done.stdout

            made("profile", "new", "--distillation", "none", "--provenance", "none", "--pairs", "--out", "p.json")
            made("keygen", "--out", "k.json")
            made("key", "export", "--key", "k.json", "--path", "ledger/1/requests", "--out", "l.json")
            made("key", "signing", "--out", "s.json")
            sign = ("--signing-key", "s.json")
            made("key", "commit", "--key", "k.json", "--profile", "p.json", "--requests", "ledger/1=20", *sign, "--out", "commitment")
            profile = json.loads((folder / "p.json").read_text())
            marker, names = w.Marker(profile, str(folder / "k.json")), {"served": [], "suspect": [], "control": []}
            for number in range(20):
                session = marker.session(seed=0, request=f"ledger/1/{number}")
                for at in range(20):
                    row = array.array("f", [((token * 7 + at) % 11) / 3 for token in range(marker.vocab_size)])
                    session.accept(session.sample(row))
                line = {"request": f"ledger/1/{number}", "account": f"a{number % 2}", "prompt_tokens": [5, 6], "tokens": list(session.generated)}
                names["served"].append(line | {"withheld": list(session.withheld)})
                scores = []
                for at, (served, other) in enumerate(zip(session.generated, session.withheld, strict=True)):
                    if other is not None and other != served:
                        lead = 65536 if number % 2 == 0 else 0
                        both = sorted([(served, lead - 9000), (other, -9000)])
                        scores.append([at, both[0][0], both[1][0], both[0][1], both[1][1]])
                names["suspect"].append({"request": line["request"], "scores": scores})
                names["control"].append({"request": line["request"], "scores": [[*score[:3], score[1] % 7, score[2] % 7] for score in scores]})
            for name, lines in names.items():
                (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            made("ledger", "append", "--ledger", "answers", "--key", "l.json", "--profile", "p.json", "--served", "served.jsonl")
            made("ledger", "head", "--ledger", "answers", *sign)
            head = next((folder / "answers" / "heads").glob("*.json"))
            time.sleep(1.1)  # a registration comes after what it names, in whole seconds
            given = ("--profile", "p.json", "--head", "commitment/head.json", "--ledger-head", head, *sign)
            made("pairs", "register", "--suspect", "s", "--control", "c", *given, "--out", "r.json")
            files = ("--ledger", "answers", "--ledger-key", "l.json", "--scores", "suspect.jsonl", "--controls", "control.jsonl")
            made("pairs", "evidence", "--registration", "r.json", "--key", "k.json", *given, *files, "--out", "ev", "served.jsonl", codes=(0, 1))
            bundle, data = folder / "ev" / "evidence.json", [folder / "ev" / "list.jsonl", folder / "suspect.jsonl", folder / "control.jsonl"]
            words = [word for path in data for word in ("--data", path)]
            expected = json.loads(made("verify", bundle, "--json", *words))
            found = w.Evidence.load(bundle).verify(data=data)
            self.assertEqual(found.to_dict(), expected)
            self.assertTrue(found.holds and found.integrity)
            self.assertEqual((found.result["verdict"], len(found.recomputed)), ("detected", 3))
            self.assertEqual(sorted(found.signers), ["bundle", "head", "ledger_head", "registration"])
            self.assertIsNone(found.times)
            self.assertIn("word", found._repr_html_())
            changed = data[0].read_bytes().replace(b'"prompt_tokens":[5,6]', b'"prompt_tokens":[5,7]', 1)
            data[0].write_bytes(changed)
            found = w.Evidence.load(bundle).verify(data=data)
            self.assertEqual((found.holds, found.result, [code for code, _ in found.faults]), (False, None, ["E-DATA"]))


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
