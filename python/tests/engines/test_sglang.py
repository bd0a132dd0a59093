"""The part of the SGLang adapter that keeps sessions, driven as SGLang 0.5.23's source drives its sampler: a batch of request ids,
logits and positions in every step, chunked prompts, retracted requests. Where SGLang imports (its sampler does without CUDA),
its own sampler class too, registered by our plugin, with stand-ins for the server's global settings. No server was run.
"""

import os
import pathlib
import sys
import tempfile
import types
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import GREEN, GUMBEL, NODE, VOCAB, lay, profile

try:
    import torch
except ImportError:
    raise unittest.SkipTest("torch is not installed") from None

from watermark_core import sglang as adapter

ALL = 1 << 30  # SGLang's top_k for the whole vocabulary


def row(rid, place):
    generator = torch.Generator().manual_seed(1000 * sum(rid.encode()) + place)
    return 1.5 * torch.randn(VOCAB, generator=generator)


class Sampling(unittest.TestCase):
    def setUp(self):
        self.requests = adapter.Requests(w.Marker(profile(), NODE))
        self.params, self.length, self.prompt, self.output = {}, {}, {}, {}

    def begin(self, rid, prompt, temperature=1.0, top_k=ALL, top_p=1.0, min_p=0.0):
        self.params[rid] = (temperature, top_k, top_p, min_p)
        self.prompt[rid], self.length[rid], self.output[rid] = prompt, prompt, []

    def step(self, *ids, lost=()):
        """One step; requests in `lost` do not keep the token. Rows without a mark take token 1."""
        columns = zip(*map(self.params.get, ids), strict=True)
        temperatures, top_ks, top_ps, min_ps = (torch.tensor(column) for column in columns)
        info = types.SimpleNamespace(temperatures=temperatures.view(-1, 1), top_ks=top_ks, top_ps=top_ps, min_ps=min_ps)
        positions = torch.tensor([self.length[rid] - 1 for rid in ids])
        logits = torch.stack([row(rid, self.length[rid] - self.prompt[rid]) for rid in ids])
        drawn = self.requests.draw(ids, logits, info, positions)
        tokens = [drawn.get(at, 1) for at in range(len(ids))]
        self.requests.emitted(torch.tensor(tokens))
        for rid, token in zip(ids, tokens, strict=True):
            if rid not in lost:
                self.output[rid].append(token)
                self.length[rid] += 1
        return drawn

    def reference(self, rid, **options):
        """What a session with the same draws writes on the rows of a request."""
        self.begin(rid, self.prompt[rid], *self.params[rid])
        requests, self.requests = self.requests, adapter.Requests(w.Marker(profile(), NODE))
        for _ in range(60):
            self.step(rid)
        self.requests = requests
        return self.output[rid]

    def test_batches_change_and_requests_do_not_notice(self):
        for rid, prompt in (("a", 3), ("b", 7), ("c", 1)):
            self.begin(rid, prompt, temperature=0.9, top_p=0.95, top_k=60, min_p=0.01)
        for _ in range(15):
            self.step("a", "b")
        for _ in range(15):
            self.step("c", "b", "a")
        for _ in range(15):
            self.step("b", "c")
        written = {rid: list(self.output[rid]) for rid in "abc"}
        self.assertEqual([len(written[rid]) for rid in "abc"], [30, 45, 30])
        for rid, tokens in written.items():
            self.assertEqual(tokens, self.reference(rid)[: len(tokens)])

    def test_the_detector_finds_it(self):
        ids = [f"r{at}" for at in range(4)]
        for rid in ids:
            self.begin(rid, 5)
        for _ in range(150):
            self.step(*ids)
        texts = list(self.output.values())
        self.assertTrue(w.Detector(profile(), NODE).detect(texts).detected)
        self.assertFalse(w.Detector(profile(), "5b" * 32).detect(texts).detected)

    def test_greedy_rows_are_left_alone(self):
        self.begin("a", 3)
        self.begin("g", 3, top_k=1)
        for _ in range(5):
            self.assertEqual(list(self.step("g", "a")), [1])

    def test_greedy_rows_are_held_to_the_policy(self):
        policy = {"boost": "before_temperature", "min_temperature": 0.5}
        self.requests = adapter.Requests(w.Marker(profile() | {"sampling": policy}, NODE))
        self.begin("g", 3, top_k=1)
        self.begin("a", 3, temperature=0.5)
        with self.assertLogs("sglang.watermark_core", "DEBUG") as logs:
            self.assertEqual(list(self.step("g", "a")), [0, 1])
        self.assertEqual([record for record in logs.output if "temperature" in record], logs.output)
        self.assertEqual(len(logs.output), 1)

    def test_a_prompt_in_pieces(self):
        self.begin("a", 40)
        self.length["a"] = 16  # the first piece: a token is drawn that nobody keeps
        self.step("a", lost="a")
        self.length["a"] = 32
        self.step("a", lost="a")
        self.length["a"] = 40
        for _ in range(20):
            self.step("a")
        tokens = list(self.output["a"])
        self.assertEqual(tokens, self.reference("a")[:20])

    def test_a_request_that_is_computed_again(self):
        self.begin("a", 4)
        for _ in range(20):
            self.step("a")
        kept, self.output["a"] = self.output["a"][:12], self.output["a"][:12]
        self.length["a"] = 16
        for _ in range(10):
            self.step("a")
        self.assertEqual(self.output["a"][:12], kept)
        tokens = list(self.output["a"])
        self.assertEqual(tokens, self.reference("a")[:22])

    def test_a_broken_row_stays_alone(self):
        self.begin("a", 4)
        self.begin("b", 4)
        for _ in range(6):
            self.step("a", "b")
        info = types.SimpleNamespace()
        logits = torch.stack([row("a", 6), row("b", 6)])
        logits[0, 7] = float("inf")
        with self.assertLogs("sglang.watermark_core", "WARNING") as logs:
            drawn = self.requests.draw(["a", "b"], logits, info, torch.tensor([9, 9]))
        self.assertNotIn(NODE[:16], str(logs.output))
        self.assertEqual(list(drawn), [1])
        self.requests.emitted(torch.tensor([5, drawn[1]]))
        logits[0, 7] = 0.0
        self.assertEqual(list(self.requests.draw(["a", "b"], logits, info, torch.tensor([10, 10]))), [0, 1])

    def test_a_key_per_account_is_refused(self):
        marker = w.Marker(profile(GREEN, {**GUMBEL, "per": "account"}), NODE)
        with self.assertRaises(w.InputError):
            adapter.Requests(marker)

    def test_the_plugin_does_nothing_where_nothing_is_configured(self):
        os.environ.pop("WATERMARK_PROFILE", None)
        self.assertIsNone(adapter.register())

    def test_the_batch_is_known_while_it_is_sampled(self):
        batch = types.SimpleNamespace(rids=["x", "y"])
        seen = adapter._sample(lambda runner, output, given: (adapter._BATCH.get(), output, given), "runner", "output", batch)
        self.assertEqual(seen, (["x", "y"], "output", batch))
        self.assertIsNone(adapter._BATCH.get())


class Sampler(unittest.TestCase):
    def test_sglang_s_sampler_with_marks(self):
        try:
            import sglang.srt.layers.sampler as real
            from sglang.srt.layers.logits_processor import LogitsProcessorOutput
            from sglang.srt.plugins.hook_registry import HookRegistry
            from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo
        except ImportError as error:
            self.skipTest(f"SGLang does not import here ({error})")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        made, key = lay(pathlib.Path(folder.name))
        self.enterContext(mock.patch.dict(os.environ, {"WATERMARK_PROFILE": str(made), "WATERMARK_KEY": str(key)}))
        adapter.register()
        self.assertIn("sglang.srt.model_executor.model_runner.ModelRunner.sample", HookRegistry._hooks)
        space = types.SimpleNamespace
        settings = space(
            deterministic=space(rl_on_policy_target=None, enable_deterministic_inference=False),
            kernel=space(sampling_backend="pytorch"),
            features=space(sampling_mask_max_tokens=None),
        )
        self.enterContext(mock.patch.object(real, "get_exec", lambda: settings))
        self.enterContext(mock.patch.object(real, "get_parallel", lambda: space(tp_group=space(device_group=None))))
        self.enterContext(mock.patch.object(real, "is_dp_attention_enabled", lambda: False))
        self.enterContext(mock.patch.object(real, "get_server_args", lambda: None))
        sampler, n = real.create_sampler(adapter.BACKEND), 3
        self.assertIsInstance(sampler, real.Sampler)
        written = [[] for _ in range(n)]
        for step in range(120):
            logits = torch.stack([row(f"s{at}", step) for at in range(n)])
            output = LogitsProcessorOutput(next_token_logits=logits.clone())
            info = SamplingBatchInfo(
                temperatures=torch.tensor([[0.9], [0.8], [1.0]]), top_ps=torch.tensor([0.95, 0.9, 1.0]),
                top_ks=torch.tensor([60, 100, 1]), min_ps=torch.zeros(n), is_all_greedy=False, is_any_greedy=True,
                need_top_p_sampling=True, need_top_k_sampling=True, need_min_p_sampling=False, vocab_size=VOCAB, device="cpu",
            )  # fmt: skip
            positions = torch.full((n,), 4 + step)

            def sample(runner, given, batch, info=info, positions=positions):
                return sampler(given, info, True, [0] * n, [None] * n, positions)

            tokens = adapter._sample(sample, None, output, space(rids=["s0", "s1", "s2"])).tolist()
            self.assertEqual(tokens[2], int(logits[2].argmax()))  # greedy
            expected = torch.log_softmax(logits / info.temperatures, -1)[range(n), tokens]
            torch.testing.assert_close(output.next_token_logprobs, expected, rtol=1e-4, atol=1e-4)
            for text, token in zip(written, tokens, strict=True):
                text.append(token)
        for text, marked in zip(written, (True, True, False), strict=True):
            self.assertEqual(w.Detector(profile(), NODE).detect([text]).detected, marked)


if __name__ == "__main__":
    unittest.main()
