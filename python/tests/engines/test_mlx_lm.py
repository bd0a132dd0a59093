"""The MLX-LM adapter in that library, on models of random weights (MLX has a build for CPUs)."""

import array
import importlib
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import GREEN, GUMBEL, NODE, VOCAB, profile

try:
    import mlx.core as mx
    from mlx_lm.models import llama
except ImportError:
    raise unittest.SkipTest("mlx-lm is not installed") from None

from watermark_core.mlx_lm import WatermarkSampler

# The package has a function of the same name.
mlx_generate = importlib.import_module("mlx_lm.generate")
PROMPT = [5, 9, 17]


def model(seed=0):
    mx.random.seed(seed)
    arguments = llama.ModelArgs(
        model_type="llama",
        hidden_size=64,
        num_hidden_layers=1,
        intermediate_size=64,
        num_attention_heads=1,
        rms_norm_eps=1e-5,
        vocab_size=VOCAB,
    )
    made = llama.Model(arguments)
    made.set_dtype(mx.bfloat16)
    return made


class MlxLm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = model()

    def write(self, sampler, n=300, **options):
        steps = mlx_generate.generate_step(mx.array(PROMPT), self.model, max_tokens=n, sampler=sampler, **options)
        return [int(token) for token, _ in steps]

    def test_marked_text_is_found_and_unmarked_is_not(self):
        options = {"temperature": 0.8, "top_p": 0.95}
        sampler = WatermarkSampler(profile(), NODE, seed=3, **options)
        marked = self.write(sampler)
        detector = w.Detector(profile(), NODE)
        self.assertTrue(all(finding.verdict == "detected" for finding in detector.detect([marked])))
        self.assertFalse(w.Detector(profile(), "5b" * 32).detect([marked]).detected)
        self.assertFalse(detector.detect([self.write(WatermarkSampler(profile(), NODE, seed=3, marked=False))]).detected)
        sampler.reset()
        self.assertEqual(self.write(sampler), marked)

    def test_tokens_are_those_of_a_session(self):
        session, rows = w.Marker(profile(), NODE).session(seed=3), []

        def seen(logprobs):
            rows.append(logprobs)
            return sampler(logprobs)

        sampler = WatermarkSampler(profile(), NODE, seed=3)
        for token, row in zip(self.write(seen, n=60), rows, strict=False):
            self.assertEqual(session.sample(array.array("f", row[0].astype(mx.float32).tolist())), token)
            session.accept(token)

    def test_a_batch_has_a_sampler_for_each_prompt(self):
        layer = {**GUMBEL, "width": 2, "per": "account"}
        samplers = [WatermarkSampler(profile(layer), NODE, seed=at, account=name) for at, name in enumerate(("alice", "bob"))]
        batch = mlx_generate.BatchGenerator(self.model, max_tokens=200)
        names = dict(zip(batch.insert([PROMPT, [7, 8, 9, 10]], samplers=samplers), ("alice", "bob"), strict=True))
        written = {name: [] for name in names.values()}
        done = 0
        while done < 2:
            for response in batch.next_generated():
                written[names[response.uid]].append(response.token)
                done += response.finish_reason is not None
        for name, tokens in written.items():
            self.assertEqual(len(tokens), 200)
            found = {other: w.Detector(profile(layer), NODE, account=other).detect([tokens]).detected for other in written}
            self.assertEqual(found, {other: other == name for other in written})
        with self.assertRaises(w.InputError) as raised:
            samplers[0](mx.zeros((2, VOCAB)))
        self.assertIn("give each prompt of a batch its own", str(raised.exception))

    def test_a_draft_model_is_refused(self):
        sampler = WatermarkSampler(profile(), NODE, seed=3)
        with self.assertRaises(w.InputError) as raised:
            for _ in mlx_generate.speculative_generate_step(mx.array(PROMPT), self.model, model(1), max_tokens=20, sampler=sampler):
                pass
        self.assertIn("no draft model", str(raised.exception))

    def test_the_model_s_vocabulary(self):
        other = profile(GREEN)
        other["tokenizer"] = {**other["tokenizer"], "vocab_size": VOCAB + 64}
        with self.assertRaises(w.InputError) as raised:
            self.write(WatermarkSampler(other, NODE, seed=1))
        self.assertIn(f"{VOCAB} logits", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
