"""Models of random weights run along texts, with tokenizers trained here: what is written is what each forward pass by itself says."""

import contextlib
import copy
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import math
import os
import pathlib
import subprocess
import sys
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import KEY, profile
from suspect_models import (
    BYTES, MODEL, RECORDS, TOKENIZER, Case, byte_level, direct, gpt2, llama, parts, sentence_piece, tokenizers, wrapped, write_gguf,
)  # fmt: skip
from watermark_core import _suspect_model, suspect


class Pieces(Case):
    def check(self, model, made, temperature=1.0, ahead=0):
        """`ahead`: bytes that the tokenizer puts before a text."""
        records = suspect.score(RECORDS, (model, wrapped(made)), batch_size=3, temperature=temperature)
        words = {token: made.decode([2, token], skip_special_tokens=False).removeprefix("<unk>") for token in range(made.get_vocab_size())}
        stands = _suspect_model.vocabulary_of(made)._bytes
        self.assertEqual([record["text"] for record in records], [record["text"] for record in RECORDS])
        self.assertEqual(records[0]["id"], "first")
        for record, given in zip(records, RECORDS, strict=True):
            before, tokens = parts(made, given)
            expected = direct(model, [*before, *tokens], len(before), temperature)
            text, at = given["text"].encode(), -ahead if given["text"] else 0
            found = {each["at"]: dict(each["top"]) for each in record["positions"]}
            self.assertEqual(len(found), len(record["positions"]))
            for token, row in zip(tokens, expected, strict=True):
                end = at + len(stands[token])
                if at < ahead:
                    # What stands before the text shares its first byte.
                    found.pop(0, None)
                elif row is None or text[at] & 0xC0 == 0x80:
                    self.assertNotIn(at, found)
                else:
                    likely = {}
                    for other in range(3, made.get_vocab_size()):
                        if row[other] >= _suspect_model.FLOOR and "\ufffd" not in words[other]:
                            likely[words[other]] = max(likely.get(words[other], -math.inf), row[other])
                    top = found.pop(at)
                    self.assertEqual(top.keys(), likely.keys())
                    self.assertTrue(all(abs(ln_p - likely[piece]) < 1e-5 / temperature for piece, ln_p in top.items()))
                at = end
            self.assertEqual((at, found), (len(text), {}))

    def test_each_position_is_what_one_forward_pass_says(self):
        self.check(MODEL, BYTES)
        self.check(MODEL, BYTES, temperature=0.5)

    def test_a_tokenizer_that_trims_offsets_and_begins_with_nothing(self):
        made = byte_level(bos=False)
        self.check(gpt2(made.get_vocab_size()), made)

    def test_a_tokenizer_of_sentencepiece_s_kind(self):
        made = sentence_piece()
        self.check(llama(made.get_vocab_size()), made, ahead=1)

    def test_batches_and_padding_change_nothing(self):
        for model in (MODEL, gpt2(BYTES.get_vocab_size())):
            alone = suspect.score(RECORDS, (model, TOKENIZER), batch_size=1)
            for size in (2, 7):
                self.same(suspect.score(RECORDS, (model, TOKENIZER), batch_size=size), alone)
            self.same(suspect.score(RECORDS[::-1], (model, TOKENIZER), batch_size=4)[::-1], alone)

    def test_a_gguf_file(self):
        for name in ("gguf", "accelerate"):
            if importlib.util.find_spec(name) is None:
                self.skipTest(f"{name} is not installed")
        file, own = self.folder / "model.gguf", self.folder / "own.json"
        write_gguf(file, MODEL, BYTES)
        BYTES.save(str(own))
        expected = suspect.score(RECORDS, (MODEL, TOKENIZER))
        self.same(suspect.score(RECORDS, file, model_tokenizer=own), expected)
        # The file's tokenizer begins with nothing, and has words for the rows that are not used.
        alone = suspect.score(RECORDS[:2], file)
        for record, other in zip(alone, expected, strict=False):
            self.assertEqual([each["at"] for each in record["positions"]], [each["at"] for each in other["positions"]])
        with mock.patch.object(importlib.util, "find_spec", return_value=None):
            self.raises(ImportError, "pip install 'watermark-core[gguf]'", suspect.score, RECORDS, file)

    def test_the_likeliest(self):
        everything = suspect.score(RECORDS, (MODEL, TOKENIZER))
        for record, whole in zip(suspect.score(RECORDS, (MODEL, TOKENIZER), top=5), everything, strict=True):
            for position, all_of_it in zip(record["positions"], whole["positions"], strict=True):
                # Of five tokens some may be no text by themselves.
                self.assertLessEqual(len(position["top"]), 5)
                self.assertEqual(position["top"], all_of_it["top"][: len(position["top"])])
                self.assertEqual([ln_p for _, ln_p in position["top"]], sorted((ln_p for _, ln_p in position["top"]), reverse=True))

    def test_a_text_that_is_longer_than_the_context(self):
        model, said = llama(BYTES.get_vocab_size(), positions=24), io.StringIO()
        long = {"prompt": "the cat", "text": " the dog saw the mat and the cat" * 20}
        far = {"prompt": "the cat sat " * 40, "text": " there."}
        with contextlib.redirect_stderr(said):
            short, cut, lost = suspect.score([RECORDS[0], long, far], (model, TOKENIZER))
        before, tokens = parts(BYTES, long)
        expected = direct(model, [*before, *tokens][:24], len(before))
        self.assertEqual(len(cut["positions"]), 24 - len(before) + 1)
        whole, _ = suspect.score([{**long, "text": BYTES.decode(tokens[: 24 - len(before)])}, RECORDS[0]], (model, TOKENIZER))
        # A batch of another shape rounds other last digits on some processors.
        self.same([{"text": "", "positions": cut["positions"][: len(expected)]}], [{"text": "", "positions": whole["positions"]}])
        self.assertTrue(short["positions"])
        self.assertEqual((lost["positions"], lost["text"]), ([], far["text"]))
        left_out = len(tokens) - (24 - len(before)) - 1 + len(parts(BYTES, far)[1])
        self.assertIn(f"left out: {left_out} of", said.getvalue())
        self.assertIn("of 2 texts", said.getvalue())
        self.raises(w.ParameterError, "24 tokens at most", suspect.score, [long], (model, TOKENIZER), max_length=25)
        shorter = suspect.score([long], (model, TOKENIZER), max_length=20)[0]["positions"]
        self.assertEqual(len(shorter), 20 - len(before) + 1)

    def test_a_chat_template(self):
        tokenizer = wrapped(BYTES)
        tokenizer.chat_template = "<s>{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
        chat = suspect.score(RECORDS[:2], (MODEL, tokenizer), chat=True)
        written = [{**record, "prompt": f"[{record['prompt']}]"} for record in RECORDS[:2]]
        plain = suspect.score(written, (MODEL, tokenizer))
        self.assertEqual([record["positions"] for record in chat], [record["positions"] for record in plain])
        self.assertEqual(chat[0]["prompt"], RECORDS[0]["prompt"])
        self.raises(w.InputError, "no chat template", suspect.score, RECORDS, (MODEL, TOKENIZER), chat=True)

    def test_what_cannot_be_used_is_named(self):
        call, model = suspect.score, (MODEL, TOKENIZER)
        for records, says in [
            ([RECORDS[0], {"prompt": "x"}], 'texts[1]: no field "text"'),
            ([{"text": 3}], '"text" is not a string'),
            ([{"text": "a\ud800"}], "lone surrogate"),
            ([{"tokens": [1, True]}], '"tokens" is not a list of token ids'),
            ([{"tokens": [1 << 24]}], "16777216"),
            ([{"tokens": [1]}], "--same-tokenizer"),
            ([{"prompt_tokens": [4], "text": "a"}], 'give "prompt" too'),
        ]:
            self.raises(w.InputError, says, call, records, model)
        self.raises(w.InputError, f"{MODEL.config.vocab_size} tokens", call, [{"tokens": [9999]}], model, same_tokenizer=True)
        for options in ({"temperature": 0.0}, {"temperature": math.nan}, {"top": 0}, {"batch_size": 0}, {"dtype": "int8"}, {"api": "x"}):
            self.raises(w.ParameterError, next(iter(options)), call, RECORDS, model, **options)
        words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
        self.raises(w.InputError, "decoder", call, RECORDS, (MODEL, words))
        broken = llama(MODEL.config.vocab_size)
        broken.lm_head.weight.data[5] = math.nan
        self.raises(w.InputError, "NaN", call, RECORDS, (broken, TOKENIZER))


class Ids(Case):
    def test_the_mark_s_own_tokenizer_is_found(self):
        home, texts, out = self.lay()
        mark = self.folder / "mark.json"
        BYTES.save(str(mark))
        about = suspect.write(texts, home, out, tokenizer=mark, quiet=True)
        self.assertEqual(about["format"], "ids")
        for line, given in zip(out.read_text().splitlines(), RECORDS, strict=True):
            record = json.loads(line)
            before, tokens = parts(BYTES, given)
            self.assertEqual(record["tokens"], tokens)
            self.assertEqual(record["prompt_tokens"], BYTES.encode(given.get("prompt", ""), add_special_tokens=False).ids)
            self.assertEqual(len(record["choices"]), len(tokens))
            for row, expected in zip(record["choices"], direct(MODEL, [*before, *tokens], len(before)), strict=True):
                known = range(BYTES.get_vocab_size())
                self.assertEqual({token for token, _ in row}, {token for token in known if expected[token] >= _suspect_model.FLOOR})
                self.assertLess(max((abs(ln_p - expected[token]) for token, ln_p in row), default=0.0), 5e-5)
        other = self.folder / "other.json"
        byte_level(size=320).save(str(other))
        about = suspect.write(texts, home, self.folder / "other.jsonl", tokenizer=other, quiet=True)
        self.assertEqual(about["format"], "pieces")

    def test_ids_are_read_as_they_are(self):
        before, tokens = parts(BYTES, RECORDS[0])
        record = suspect.score([{"prompt_tokens": before, "tokens": tokens}], (MODEL, TOKENIZER), same_tokenizer=True)[0]
        self.assertEqual((record["prompt_tokens"], record["tokens"]), (before, tokens))
        of_text = suspect.score([RECORDS[0]], (MODEL, TOKENIZER), same_tokenizer=True)[0]
        self.assertEqual(record["choices"], of_text["choices"])
        alone = suspect.score([{"tokens": tokens}], (MODEL, TOKENIZER), same_tokenizer=True)[0]
        self.assertEqual((alone["choices"][0], alone["prompt_tokens"]), ([], []))
        self.assertTrue(all(alone["choices"][1:]))

    def test_the_program_reads_both_forms(self):
        if not os.environ.get("WATERMARK"):
            self.skipTest("WATERMARK names no program")
        home, texts, out = self.lay()
        mark = self.folder / "tokenizer.json"
        mark.write_text(BYTES.to_str(), encoding="utf-8")
        made = profile()
        made["tokenizer"] = {
            "sha256": hashlib.sha256(mark.read_bytes()).hexdigest(), "vocab_size": BYTES.get_vocab_size(), "special_token_ids": [0, 1, 2],
        }  # fmt: skip
        (self.folder / "p.json").write_text(json.dumps(made))
        (self.folder / "k.json").write_text(KEY)
        (self.folder / "k.json").chmod(0o600)
        results = []
        for options in ({}, {"tokenizer": mark}):
            out = self.folder / f"{len(options)}.jsonl"
            suspect.write(texts, home, out, quiet=True, **options)
            command = [os.environ["WATERMARK"], "test-model", "--profile", self.folder / "p.json", "--key", self.folder / "k.json"]
            done = subprocess.run([*command, "--layer", "distillation", "--logprobs", out, "--json"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1, done.stderr)
            results.append(json.loads(done.stdout))
        pieces, ids = results
        self.assertEqual((pieces["texts"], pieces["tokens"]), (ids["texts"], ids["tokens"]))
        self.assertEqual(pieces["access"], "logprobs")
        # Pieces that are no UTF-8 by themselves are left out.
        self.assertGreater(pieces["n_scored"], 0)
        self.assertGreater(ids["n_scored"], pieces["n_scored"])


class Files(Case):
    def test_a_run_that_was_killed_goes_on(self):
        records = [{**record, "id": str(at)} for at, record in enumerate(RECORDS * 20)]
        home, texts, whole = self.lay(records=records)
        suspect.write(texts, home, whole, batch_size=2, quiet=True)
        expected, out = whole.read_bytes(), self.folder / "cut.jsonl"
        part, state = self.folder / "cut.jsonl.part", self.folder / "cut.jsonl.state.json"
        calls, predict = [], _suspect_model.LocalModel.predict

        def stopping(model, batch):
            calls.append(len(batch))
            if len(calls) == 40:
                raise KeyboardInterrupt
            return predict(model, batch)

        with mock.patch.object(_suspect_model.LocalModel, "predict", stopping), self.assertRaises(KeyboardInterrupt):
            suspect.write(texts, home, out, batch_size=2, quiet=True)
        written = part.read_bytes()
        self.assertTrue(expected.startswith(written) and 0 < len(written) < len(expected))
        self.assertFalse(out.exists())
        kept = state.read_bytes()
        for cut in (len(written), len(written) - 7, written.index(b"\n") + 1, 5, 0):
            part.write_bytes(written[:cut])
            state.write_bytes(kept)
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                about = suspect.write(texts, home, out, batch_size=2)
            self.assertEqual(out.read_bytes(), expected)
            lines = written[:cut].count(b"\n")
            self.assertEqual(f"{lines} of {len(records)} texts were there before" in said.getvalue(), lines > 0)
            self.assertFalse(part.exists() or state.exists())
            self.assertEqual(about, json.loads((self.folder / "out.jsonl.about.json").read_text()))
            out.unlink()
            (self.folder / "cut.jsonl.about.json").unlink()

    def test_a_run_that_is_complete_does_nothing(self):
        home, texts, out = self.lay()
        first = suspect.write(texts, home, out, quiet=True)
        before, said = out.stat(), io.StringIO()
        with contextlib.redirect_stderr(said), mock.patch.object(_suspect_model.LocalModel, "predict", side_effect=AssertionError):
            self.assertEqual(suspect.write(texts, home, out), first)
        self.assertEqual(out.stat(), before)
        self.assertIn("complete; nothing to do", said.getvalue())
        out.write_bytes(out.read_bytes() + b"\n")
        self.raises(w.InputError, "is not the file", suspect.write, texts, home, out, quiet=True)
        (self.folder / "out.jsonl.about.json").unlink()
        self.raises(w.InputError, "no out.jsonl.about.json", suspect.write, texts, home, out, quiet=True)

    def test_lines_of_another_run_are_refused(self):
        home, texts, out = self.lay()
        suspect.write(texts, home, out, quiet=True)
        lines = out.read_bytes()
        about = json.loads((self.folder / "out.jsonl.about.json").read_text())
        call = lambda **options: suspect.write(texts, home, out, quiet=True, **options)  # noqa: E731
        for options, says in [
            ({"temperature": 0.7}, "temperature (1.0, now 0.7)"),
            ({"top": 5}, "top (null, now 5)"),
            ({"dtype": "bfloat16"}, "model"),
        ]:
            self.raises(w.InputError, says, call, **options)
        # The same for a run that was cut short.
        out.unlink()
        (self.folder / "out.jsonl.about.json").unlink()
        part, state = self.folder / "out.jsonl.part", self.folder / "out.jsonl.state.json"
        part.write_bytes(lines[:200])
        self.raises(w.InputError, "no out.jsonl.state.json", call)
        state.write_text("{")
        self.raises(w.InputError, "damaged", call)
        state.write_text(json.dumps(about))
        self.raises(w.InputError, "temperature", call, temperature=0.7)
        was = texts.read_text()
        texts.write_text(was.replace("cat", "rat", 1))
        self.raises(w.InputError, "texts_sha256", call)
        texts.write_text(was)
        other = copy.deepcopy(MODEL)
        other.lm_head.weight.data[7] += 1
        other.save_pretrained(home)
        self.raises(w.InputError, "another model", call)
        MODEL.save_pretrained(home)
        part.write_bytes(lines * 2)
        self.raises(w.InputError, "14 lines for 7 texts", call)
        part.write_bytes(lines[:200])
        other.save_pretrained(home)
        self.assertEqual(part.read_bytes(), lines[:200])
        MODEL.save_pretrained(home)
        call()
        self.assertEqual(out.read_bytes(), lines)

    def test_what_is_bound(self):
        home, texts, out = self.lay()
        about = suspect.write(texts, home, out, top=7, dtype="float32", quiet=True)
        digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()  # noqa: E731
        weights = {path.name: digest(path) for path in home.glob("*.safetensors")}
        listed = "".join(f"{weights[name]}  {name}\n" for name in sorted(weights))
        self.assertEqual(about["model"]["weights"], weights)
        self.assertEqual(about["model"]["weights_sha256"], hashlib.sha256(listed.encode()).hexdigest())
        self.assertEqual((about["texts_sha256"], about["output_sha256"]), (digest(texts), digest(out)))
        self.assertEqual((about["top"], about["temperature"], about["model"]["dtype"]), (7, 1.0, "float32"))
        self.assertEqual(about["versions"]["torch"], importlib.metadata.version("torch"))
        written = (self.folder / "out.jsonl.about.json").read_text()
        self.assertEqual(written, json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        self.assertNotIn(str(self.folder), written)
        again = self.folder / "again.jsonl"
        suspect.write(texts, home, again, top=7, dtype="float32", quiet=True)
        self.assertEqual((self.folder / "again.jsonl.about.json").read_text(), written)

    def test_lines_that_cannot_be_used(self):
        home, texts, out = self.lay()
        good = b'{"text":"a"}\n'
        for bad, says in [
            (b"{", "line 2: not JSON"), (b"[1]", "line 2: not an object"), (b'{"text":"\xff"}', "line 2: not UTF-8"),
            (b"[" * 100_000, "line 2: not JSON"), (b'{"text":null}', "line 2: no field"),
        ]:  # fmt: skip
            texts.write_bytes(good + bad + b"\n")
            self.raises(w.InputError, says, suspect.write, texts, home, out, quiet=True)
        texts.write_bytes(b"\n \n")
        self.raises(w.InputError, "no texts", suspect.write, texts, home, out, quiet=True)
        with mock.patch("watermark_core._suspect_texts.MAX_LINE", 200):
            texts.write_bytes(good + b'{"text":"' + b"a" * 200 + b'"}\n')
            self.raises(w.InputError, "line 2: longer than 200 bytes", suspect.write, texts, home, out, quiet=True)
            texts.write_bytes(good + b'{"text":"aaa"}\n')
            self.raises(w.InputError, "--top", suspect.write, texts, home, out, quiet=True)
        self.assertFalse(out.exists())

    def test_models_that_cannot_be_used(self):
        home, texts, out = self.lay()
        empty = self.folder / "empty"
        empty.mkdir()
        self.raises(w.InputError, "no weights", suspect.write, texts, empty, out)
        self.raises(w.InputError, "no such file", suspect.write, texts, self.folder / "a" / "b", out)
        self.raises(w.InputError, "ends in .gguf", suspect.write, texts, texts, out)
        self.raises(w.InputError, "device nowhere", suspect.write, texts, home, out, device="nowhere", quiet=True)
        (home / "config.json").write_text("{}")
        self.raises(w.InputError, "cannot be loaded", suspect.write, texts, home, out)

    def test_the_command_line(self):
        home, texts, out = self.lay()
        command = ["--model", str(home), "--texts", str(texts), "--out", str(out)]
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            self.assertEqual(suspect.main([*command, "--top", "0"]), 2)
            self.assertEqual(suspect.main([*command, "--batch-size", "2"]), 0)
            with mock.patch.dict(sys.modules, {"torch": None}):
                self.assertEqual(suspect.main([*command, "--out", str(self.folder / "none")]), 2)
            with mock.patch.object(_suspect_model.LocalModel, "predict", side_effect=KeyboardInterrupt):
                self.assertEqual(suspect.main([*command, "--out", str(self.folder / "stopped")]), 2)
        for words in ("error: top is 0", "7 texts", "pip install 'watermark-core[transformers]'", "the same command goes on"):
            self.assertIn(words, said.getvalue())
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as said:
            suspect.main(command[2:])
        self.assertIn("--model is missing", said.getvalue())
        done = subprocess.run([sys.executable, "-m", "watermark_core.suspect", "--help"], capture_output=True, text=True, check=True)
        for words in ("examples:", "test-model", "WATERMARK_API_KEY", "--same-tokenizer"):
            self.assertIn(words, done.stdout)


if __name__ == "__main__":
    unittest.main()
