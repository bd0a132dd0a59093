"""Real models of transformers (Llama, random weights: entropy is what matters) write marked text that the detector finds."""

import copy
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import GREEN, GUMBEL, NODE, VOCAB, profile

try:
    import torch
    import transformers

    from watermark_core.transformers import WatermarkingConfig, WatermarkLogitsProcessor
except ImportError:
    raise unittest.SkipTest("torch and transformers are not installed") from None

PAD, PROMPT = 0, 6


def model(seed, layers=2):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=PAD, initializer_range=0.3,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


MODEL = model(0)


def prompts(n):
    """Prompts of different lengths, padded on the left."""
    ids = torch.full((n, PROMPT), PAD)
    for row in range(n):
        length = PROMPT - row % 3
        ids[row, PROMPT - length :] = torch.arange(3 + row, 3 + row + length)
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def generate(config, n=3, new=200, **options):
    """Generated part of every row. Without an end-of-sequence token rows are as long as asked for."""
    torch.manual_seed(11)
    options = {"do_sample": True, "top_k": 0, "min_new_tokens": new, **options}
    output = MODEL.generate(**prompts(n), watermarking_config=config, max_new_tokens=new, **options)
    return output[:, PROMPT:].tolist()


def worst(rows, node=NODE, layers=()):
    report = w.Detector(profile(*layers), node).detect(rows)
    return report.detected, [finding.log10_p for finding in report]


class Transformers(unittest.TestCase):
    def test_the_mark_is_found_under_its_key_and_no_other(self):
        for layers in ((GREEN, GUMBEL), (GREEN,), (GUMBEL,)):
            rows = generate(WatermarkingConfig(profile(*layers), NODE, seed=1))
            detected, log10_p = worst(rows, layers=layers)
            self.assertTrue(detected)
            self.assertLess(max(log10_p), -6)
            self.assertFalse(worst(rows, node="5b" * 32, layers=layers)[0])
            self.assertFalse(worst(generate(None), layers=layers)[0])
            self.assertFalse(worst(generate(WatermarkingConfig(profile(*layers), NODE, seed=1, marked=False)), layers=layers)[0])

    def test_rows_are_requests_of_their_own(self):
        pairs = {"name": "pairs", "scheme": "paired", "width": 0, "prf": "chacha20-v1"}
        marker, requests = w.Marker(profile(GREEN, pairs), NODE), [f"ledger/test/{row}" for row in range(4)]

        def made(seed=1, **options):
            torch.manual_seed(11)
            mark = WatermarkLogitsProcessor(marker, seed=seed, sampling={"temperature": 0.9}, **options)
            given = {**prompts(2), "num_return_sequences": 2, "do_sample": True, "max_new_tokens": 40, "min_new_tokens": 40}
            return mark, MODEL.generate(**given, logits_processor=[mark])

        mark, output = made(requests=requests)
        rows, withheld = output[:, PROMPT:].tolist(), mark.withheld(output)
        self.assertEqual([len(row) for row in withheld], [40] * 4)
        self.assertGreater(sum(a != b for one, two in zip(rows, withheld, strict=True) for a, b in zip(one, two, strict=True)), 60)
        self.assertNotIn(None, [token for row in withheld for token in row])
        # What a row draws follows from its request, whatever the seed.
        self.assertEqual(rows, made(seed=2, requests=requests)[1][:, PROMPT:].tolist())
        self.assertNotEqual(rows, made(requests=requests[::-1])[1][:, PROMPT:].tolist())
        for options, says in (
            ({"requests": requests[:3]}, "3 requests for 4 rows"), ({"requests": ["a/1", "a/1"]}, "twice"), ({"requests": []}, "none"), ({}, "name the request"),
        ):  # fmt: skip
            with self.assertRaisesRegex(w.WatermarkError, says):
                made(**options)
        with self.assertRaisesRegex(w.WatermarkError, "give requests="):
            WatermarkLogitsProcessor(marker, seed=1, sampling={"request": "a/1"})

    def test_every_row_carries_it(self):
        rows = generate(WatermarkingConfig(profile(), NODE, seed=1), n=2, num_return_sequences=2, temperature=0.9, top_p=0.95)
        self.assertEqual(len({tuple(row) for row in rows}), 4)
        report = w.Detector(profile(), NODE).detect(rows, per_record=True)
        found = {finding.record for finding in report.per_record if finding.log10_p < -6}
        self.assertEqual(len(found), 4)

    def test_it_acts_on_what_truncation_left(self):
        for layers in ((GREEN,), (GREEN, GUMBEL)):
            config = WatermarkingConfig(profile(*layers), NODE, seed=1)
            torch.manual_seed(3)
            output = MODEL.generate(
                **prompts(2), watermarking_config=config, max_new_tokens=12, min_new_tokens=12, do_sample=True, top_k=5,
                output_scores=True, output_logits=True, return_dict_in_generate=True,
            )  # fmt: skip
            for after, raw in zip(output.scores, output.logits, strict=True):
                raw[:, 2] = float("-inf")  # `min_new_tokens` forbids the end before top-k
                for row in range(2):
                    left = set(torch.isfinite(after[row]).nonzero().flatten().tolist())
                    self.assertLessEqual(left, set(raw[row].topk(5).indices.tolist()))
                    self.assertEqual(len(left), 5 if layers == (GREEN,) else 1)

    def test_a_sampling_policy_needs_the_processor_that_runs_first(self):
        policy = {"boost": "before_temperature", "min_temperature": 0.5}
        for layers in ((GREEN,), (GREEN, GUMBEL)):
            made = profile(*layers) | {"sampling": policy}
            with self.assertRaises(w.ParameterError) as raised:
                WatermarkingConfig(made, NODE)
            self.assertIn("logits_processor", str(raised.exception))
            WatermarkingConfig(made, NODE, marked=False)
            WatermarkingConfig(profile(*layers) | {"sampling": {"boost": "after_temperature"}}, NODE)
            mark = WatermarkLogitsProcessor(w.Marker(made, NODE), seed=1, sampling={"temperature": 0.0})
            self.assertEqual(mark.raised, {"temperature": (0.0, 0.5)})
            # What generate does afterwards changes nothing.
            rows = generate(None, logits_processor=[mark], temperature=0.3, top_k=1)
            detected, log10_p = worst(rows, layers=layers)
            self.assertTrue(detected)
            self.assertLess(max(log10_p), -6)

    def test_a_seed_decides_everything(self):
        config = WatermarkingConfig(profile(), NODE, seed=5)
        first = generate(config, new=60)
        self.assertEqual(generate(config, new=60), first)
        self.assertNotEqual(generate(WatermarkingConfig(profile(), NODE, seed=6), new=60), first)
        fresh = WatermarkingConfig(profile(), NODE)
        self.assertNotEqual(generate(fresh, new=60), generate(fresh, new=60))

    def test_rows_are_sessions_on_the_same_logits(self):
        from watermark_core._engine import row_seed

        config = WatermarkingConfig(profile(), NODE, seed=9)
        torch.manual_seed(2)
        output = MODEL.generate(
            **prompts(2), watermarking_config=config, max_new_tokens=40, min_new_tokens=40, do_sample=True, top_k=0,
            output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        marker = w.Marker(profile(), NODE)
        for row in range(2):
            session = marker.session(seed=row_seed(9, row))
            for logits, token in zip(output.logits, output.sequences[row, PROMPT:].tolist(), strict=True):
                logits[:, 2] = float("-inf")
                self.assertEqual(session.sample(logits[row].numpy()), token)
                session.accept(token)

    def test_rows_end_when_they_end(self):
        rows = generate(WatermarkingConfig(profile(), NODE, seed=1), n=6, new=400, min_new_tokens=0)
        ends = [row.index(2) for row in rows if 2 in row]
        self.assertTrue(ends)
        for row in rows:
            after = row[row.index(2) + 1 :] if 2 in row else []
            self.assertEqual(set(after) - {PAD}, set())
        cut = [row[: row.index(2)] if 2 in row else row for row in rows]
        self.assertTrue(worst(cut)[0])

    def test_an_assistant_model(self):
        config = WatermarkingConfig(profile(), NODE, seed=1)
        assistant = model(1, layers=1)
        torch.manual_seed(4)
        output = MODEL.generate(
            input_ids=torch.tensor([[1, 5, 9]]), watermarking_config=config, assistant_model=assistant, do_sample=True, top_k=0,
            max_new_tokens=200, min_new_tokens=200,
        )  # fmt: skip
        self.assertTrue(worst(output[:, 3:].tolist())[0])

    def test_beam_search_is_refused(self):
        with self.assertRaises(w.InputError) as raised:
            generate(WatermarkingConfig(profile(GREEN), NODE, seed=1), n=2, num_beams=3, min_new_tokens=0)
        self.assertIn("num_beams", str(raised.exception))

    def test_rows_longer_than_the_profile_s_vocabulary(self):
        short = profile()
        short["tokenizer"]["vocab_size"] = VOCAB - 3
        with self.assertRaises(w.InputError) as raised:
            generate(WatermarkingConfig(short, NODE, seed=1))
        self.assertIn(f"{VOCAB} logits", str(raised.exception))
        self.assertIn(str(VOCAB - 3), str(raised.exception))

    def test_accounts_and_parameters(self):
        layer = {**GUMBEL, "per": "account"}
        with self.assertRaises(w.InputError):
            WatermarkingConfig(profile(layer), NODE, seed=1)
        with self.assertRaises(w.KeyFileError):
            WatermarkingConfig(profile(), "5a", seed=1)
        rows = generate(WatermarkingConfig(profile(layer), NODE, seed=1, account="alice"))
        found = [w.Detector(profile(layer), NODE, account=name).detect(rows).detected for name in ("alice", "bob")]
        self.assertEqual(found, [True, False])

    def test_nothing_shows_the_key(self):
        config = WatermarkingConfig(profile(), NODE, seed=1)
        self.assertIs(copy.deepcopy(config), config)
        holder = transformers.GenerationConfig(watermarking_config=config)
        shown = [repr(config), str(config), config.to_json_string(), repr(holder)]
        shown += [json.dumps(config.to_dict()), str(dict(config))]
        with tempfile.TemporaryDirectory() as folder:
            holder.save_pretrained(folder)
            shown.append(pathlib.Path(folder, "generation_config.json").read_text())
            with self.assertRaises(TypeError):  # and not text that goes out without a mark
                transformers.GenerationConfig.from_pretrained(folder)
        for text in shown:
            self.assertNotIn(NODE[:16], text)


if __name__ == "__main__":
    unittest.main()
