"""Answers that were served with paired draws, scored by models of random weights: what is written is what each forward pass says, and
`watermark pairs test` reads it."""

import array
import json
import os
import pathlib
import subprocess
import sys
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import KEY, NODE, profile
from suspect_models import BYTES, MODEL, Case, byte_level, direct
from watermark_core import _suspect_model, suspect

VOCAB = BYTES.get_vocab_size()
PAIRS = {"name": "pairs", "scheme": "paired", "width": 0, "prf": "chacha20-v1"}


def served(requests=6, tokens=12):
    """Answers as a server keeps them, drawn from rows that favour nothing in particular."""
    made = profile(PAIRS)
    made["tokenizer"] = {**made["tokenizer"], "vocab_size": VOCAB, "special_token_ids": [0, 1, 2]}
    marker, lines = w.Marker(made, NODE), []
    for number in range(requests):
        session = marker.session(seed=0, request=f"ledger/test/{number}")
        for at in range(tokens):
            row = array.array("f", [((token * 7 + at) % 5) / 5 for token in range(VOCAB)])
            session.accept(session.sample(row))
        lines.append({
            "request": f"ledger/test/{number}", "account": f"a{number % 2}", "prompt_tokens": [0, *range(20, 25 + number)],
            "tokens": list(session.generated), "withheld": list(session.withheld),
        })  # fmt: skip
    return made, lines


class Pairs(Case):
    def lay_served(self, lines):
        home, _, out = self.lay()
        file = self.folder / "served.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return home, file, out

    def test_scores_are_what_one_forward_pass_says(self):
        _, lines = served()
        home, file, out = self.lay_served(lines)
        about = suspect.write_pairs(file, home, out, same_tokenizer=True, batch_size=4, quiet=True)
        self.assertEqual((about["requests"], about["format"]), (6, "pairs"))
        written = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual([line["request"] for line in written], [line["request"] for line in lines])
        for line, given in zip(written, lines, strict=True):
            ids = [*given["prompt_tokens"], *given["tokens"]]
            expected = direct(MODEL, ids, len(given["prompt_tokens"]))
            two = [(at, *sorted(pair)) for at, pair in enumerate(zip(given["tokens"], given["withheld"], strict=True)) if pair[0] != pair[1]]
            self.assertEqual([tuple(score[:3]) for score in line["scores"]], two)
            for at, first, second, *scores in line["scores"]:
                for token, score in zip((first, second), scores, strict=True):
                    self.assertLess(abs(score - 65536 * expected[at][token]), 2, given["request"])

    def test_the_program_reads_them(self):
        made, lines = served(requests=20)
        home, file, out = self.lay_served(lines)
        suspect.write_pairs(file, home, out, same_tokenizer=True, quiet=True)
        (self.folder / "p.json").write_text(json.dumps(made))
        (self.folder / "k.json").write_text(KEY)
        (self.folder / "k.json").chmod(0o600)
        command = [os.environ["WATERMARK"], "pairs", "test", "--profile", self.folder / "p.json", "--key", self.folder / "k.json", "--json"]
        done = subprocess.run([*command, "--scores", out, file], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["account"] for line in found][:1], [None])
        self.assertEqual((found[0]["requests"], found[0]["n_unscored"], found[0]["verdict"]), (20, 0, "not_detected"))
        self.assertGreater(found[0]["n_scored"], 100)

    def test_another_tokenizer_reads_candidates_as_text(self):
        """A mark of fewer, shorter tokens: what is written is the likelihood of each text, read with nothing behind it."""
        mark = byte_level(size=300)
        mark.save(str(self.folder / "mark.json"))
        texts = ["The cat sat on the mat", "naïve Straße", "日本 dog"]
        whole = [token for token in range(3, 300) if mark.decode([token]).isprintable() and "\ufffd" not in mark.decode([token])]
        lines = []
        for number, text in enumerate(texts):
            tokens = mark.encode(text, add_special_tokens=False).ids
            withheld = [whole[(token * 7 + 5) % len(whole)] for token in tokens]
            withheld[1], withheld[2] = None, tokens[2]
            lines.append({"request": f"ledger/test/{number}", "prompt": "What?", "tokens": tokens, "withheld": withheld})
        home, file, out = self.lay_served(lines)
        about = suspect.write_pairs(file, home, out, tokenizer=self.folder / "mark.json", batch_size=3, quiet=True)
        self.assertEqual(about["requests"], 3)
        before, compared, ties = BYTES.encode("What?").ids[:-1], 0, 0
        for line, given in zip([json.loads(line) for line in out.read_text().splitlines()], lines, strict=True):
            for at, first, second, *scores in line["scores"]:
                self.assertEqual({first, second}, {given["tokens"][at], given["withheld"][at]})
                said = []
                for token in (first, second):
                    text = mark.decode([*given["tokens"][:at], token], skip_special_tokens=False)
                    ids = BYTES.encode(text, add_special_tokens=False).ids
                    rows = direct(MODEL, [*before, *ids], len(before))
                    said.append(None if "\ufffd" in text[-1:] else sum(row[token] for row, token in zip(rows, ids, strict=True)))
                if scores == [0, 0]:
                    ties += 1
                    continue
                compared += 1
                self.assertAlmostEqual((scores[0] - scores[1]) / 65536, said[0] - said[1], delta=1e-3)
        self.assertGreater(compared, 9)
        self.assertGreater(ties, 2)
        # The same file by ids, or of another mark, is another one.
        options = {"tokenizer": self.folder / "mark.json", "quiet": True}
        self.raises(w.InputError, "", suspect.write_pairs, file, home, out, same_tokenizer=True, quiet=True)
        # A list without texts of its prompts, as a server writes it, reads the same; what the model does not reach is counted.
        for line in lines:
            line["prompt_tokens"] = mark.encode(line.pop("prompt"), add_special_tokens=False).ids
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        by_ids = self.folder / "by_ids.jsonl"
        suspect.write_pairs(file, home, by_ids, batch_size=3, **options)
        self.assertEqual(by_ids.read_text(), out.read_text())
        about = suspect.write_pairs(file, home, self.folder / "short.jsonl", max_length=8, **options)
        self.assertGreater(about["tokens_left_out"], 3)

    def test_a_run_that_was_cut_short_goes_on(self):
        _, lines = served(requests=9)
        home, file, out = self.lay_served(lines)
        suspect.write_pairs(file, home, out, same_tokenizer=True, batch_size=2, quiet=True)
        expected, cut, calls = out.read_bytes(), self.folder / "cut.jsonl", []
        candidates = _suspect_model.LocalModel.candidates

        def stopping(model, *given):
            calls.append(given)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return candidates(model, *given)

        with mock.patch.object(_suspect_model.LocalModel, "candidates", stopping), self.assertRaises(KeyboardInterrupt):
            suspect.write_pairs(file, home, cut, same_tokenizer=True, batch_size=2, quiet=True)
        part = self.folder / "cut.jsonl.part"
        whole = part.read_bytes()
        # In the middle of a batch, and in the middle of a line.
        part.write_bytes(whole[: whole.index(b"\n") + 9])
        about = suspect.write_pairs(file, home, cut, same_tokenizer=True, batch_size=2, quiet=True)
        self.assertEqual(cut.read_bytes(), expected)
        self.assertEqual(about["tokens"], sum(len(line["tokens"]) for line in lines))

    def test_what_cannot_be_used_is_said(self):
        _, lines = served(requests=1)
        home, file, out = self.lay_served(lines)
        self.raises(w.ParameterError, "ids of the mark's tokenizer", suspect.write_pairs, file, home, out, quiet=True)
        mark = self.folder / "mark.json"
        byte_level(size=300).save(str(mark))
        there = {"endpoint": "http://127.0.0.1:1", "quiet": True}
        self.raises(w.ParameterError, "--api completions", suspect.write_pairs, file, "m", out, model_tokenizer=home, tokenizer=mark, **there)
        self.raises(w.ParameterError, "needs an endpoint", suspect.write_pairs, file, "m", out, api="completions", quiet=True)
        self.raises(w.ParameterError, "--tokenizer", suspect.write_pairs, file, "m", out, api="completions", **there)
        self.raises(w.ParameterError, "for --pairs", suspect.score, [], "m", endpoint="http://127.0.0.1:1", api="chat-prefix")
        for wrong, says in (
            ({"tokens": [5, 6]}, '"request" or "tokens"'),
            ({"request": "a/1", "tokens": [5, 6], "withheld": [7]}, "an entry for each token"),
            ({"request": "a/1", "tokens": [5], "withheld": [-1]}, "from 0 to"),
            ({"request": "a/1", "tokens": [5], "withheld": ["x"]}, "token ids"),
        ):
            file.write_text(json.dumps(wrong) + "\n")
            self.raises(w.InputError, says, suspect.write_pairs, file, home, out, same_tokenizer=True, quiet=True)
        file.write_text(json.dumps({"request": "a/1", "prompt_tokens": [0], "tokens": [5], "withheld": [9999]}) + "\n")
        self.raises(w.InputError, "withheld token id 9999", suspect.write_pairs, file, home, out, same_tokenizer=True, quiet=True)
        out.with_name(out.name + ".part").unlink()
        out.with_name(out.name + ".state.json").unlink()
        file.write_text("\n")
        self.raises(w.InputError, "no requests", suspect.write_pairs, file, home, out, same_tokenizer=True, quiet=True)


if __name__ == "__main__":
    unittest.main()
