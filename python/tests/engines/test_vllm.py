"""The vLLM adapter with vLLM's own classes of both runners, and with a whole engine where one runs on this machine.

`pip install vllm`, or on a machine without CUDA a CPU build of it. A batch is driven as the V1 and V2 runners drive one: rows
change places, requests end, slots are used again.
"""

import os
import pathlib
import sys
import tempfile
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import GREEN, GUMBEL, NODE, VOCAB, lay, profile

try:
    import numpy as np
    import torch
    from vllm import SamplingParams
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.sample.logits_processor.interface import BatchUpdate, LogitsProcessor, MoveDirectionality
    from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext
    from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor as LogitsProcessorV2

    from watermark_core import vllm as adapter
except ImportError as error:
    raise unittest.SkipTest(f"vLLM is not installed ({error})") from None

CONFIG = types.SimpleNamespace(model_config=types.SimpleNamespace(get_vocab_size=lambda: VOCAB))


def row(seed, step):
    generator = torch.Generator().manual_seed(1000 * seed + step)
    return 1.5 * torch.randn(VOCAB, generator=generator)


class Base(unittest.TestCase):
    layers = (GREEN, GUMBEL)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        made, key = lay(pathlib.Path(folder.name), *self.layers)
        os.environ |= {"WATERMARK_PROFILE": str(made), "WATERMARK_KEY": str(key)}
        adapter._needs_account.cache_clear()

    def expected(self, seed, steps, **options):
        """What a session writes on the rows of a request."""
        session = w.Marker(profile(*self.layers), NODE).session(seed=seed, **options)
        for step in range(steps):
            session.accept(session.sample(row(seed, step).numpy()))
        return session.generated

    def only(self, logits):
        """The one token that is left, or None."""
        (left,) = torch.isfinite(logits).nonzero(as_tuple=True)
        return int(left) if len(left) == 1 else None


class V1(Base):
    def processor(self):
        return adapter.WatermarkLogitsProcessor(CONFIG, torch.device("cpu"), False)

    def test_rows_move_and_their_marks_move_with_them(self):
        self.assertTrue(issubclass(adapter.WatermarkLogitsProcessor, LogitsProcessor))
        processor = self.processor()
        options = {"temperature": 0.8, "top_p": 0.9, "top_k": 50, "min_p": 0.01}
        params = {seed: SamplingParams(seed=seed, **options) for seed in range(1, 5)}
        output = {seed: [] for seed in params}
        batch = [1, 2, 3]

        def step():
            logits = torch.stack([row(seed, len(output[seed])) for seed in batch])
            for seed, logit in zip(batch, processor.apply(logits), strict=True):
                output[seed].append(self.only(logit))

        added = [(at, params[seed], [7, 8], output[seed]) for at, seed in enumerate(batch)]
        processor.update_state(BatchUpdate(batch_size=3, removed=[], added=added, moved=[]))
        for _ in range(20):
            step()
            processor.update_state(None)
        batch[0], batch[2] = batch[2], batch[0]
        processor.update_state(BatchUpdate(3, [], [], [(0, 2, MoveDirectionality.SWAP)]))
        for _ in range(10):
            step()
        batch = [batch[2], batch[1]]  # the first row ends, the last one takes its place
        processor.update_state(BatchUpdate(2, [0], [], [(2, 0, MoveDirectionality.UNIDIRECTIONAL)]))
        for _ in range(10):
            step()
        batch.append(4)  # and another comes
        processor.update_state(BatchUpdate(3, [], [(2, params[4], None, output[4])], []))
        for _ in range(10):
            step()
        batch[1] = 3  # a request that was put off takes another's row, with what it has written
        processor.update_state(BatchUpdate(3, [], [(1, params[3], [7, 8], output[3])], []))
        for _ in range(10):
            step()
        self.assertEqual([len(output[seed]) for seed in params], [60, 50, 40, 20])
        for seed, written in output.items():
            self.assertEqual(written, self.expected(seed, len(written), **options))

    def test_requests_that_are_not_marked(self):
        processor = self.processor()
        some = [SamplingParams(seed=1), SamplingParams(temperature=0.0), SamplingParams(extra_args={"watermark": False})]
        processor.update_state(BatchUpdate(3, [], [(at, params, [1], []) for at, params in enumerate(some)], []))
        logits = torch.stack([row(9, at) for at in range(3)])
        after = processor.apply(logits.clone())
        self.assertIsNotNone(self.only(after[0]))
        self.assertTrue(torch.equal(after[1:], logits[1:]))
        self.assertFalse(processor.is_argmax_invariant())

    def test_penalties_come_first(self):
        params = SamplingParams(seed=3, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.2)
        processor, output, prompt = self.processor(), [], [5, 6, 6]
        processor.update_state(BatchUpdate(1, [], [(0, params, prompt, output)], []))
        session = w.Marker(profile(*self.layers), NODE).session(seed=3)
        for step in range(40):
            logits = row(3, step)
            token = self.only(processor.apply(logits.clone().unsqueeze(0))[0])
            for seen in set(output):
                logits[seen] -= 0.2 * output.count(seen) + 0.4
            for seen in set(output) | set(prompt):
                logits[seen] = logits[seen] / 1.3 if logits[seen] > 0 else logits[seen] * 1.3
            self.assertEqual(token, session.sample(logits.numpy()))
            output.append(token)
            session.accept(token)

    def test_a_placeholder_is_an_error(self):
        processor, output = self.processor(), []
        processor.update_state(BatchUpdate(1, [], [(0, SamplingParams(seed=1), [1], output)], []))
        output.extend([4, -1])
        with self.assertRaises(RuntimeError) as raised:
            processor.apply(row(1, 0).unsqueeze(0))
        self.assertIn("--logits-processors", str(raised.exception))

    def test_a_broken_row_stays_alone(self):
        processor = self.processor()
        added = [(at, SamplingParams(seed=at), [1], []) for at in range(2)]
        processor.update_state(BatchUpdate(2, [], added, []))
        logits = torch.stack([row(0, 0), row(1, 0)])
        logits[0, 3] = float("nan")
        with self.assertLogs("vllm.watermark_core", "WARNING") as logs:
            after = processor.apply(logits.clone())
        self.assertNotIn(NODE[:16], str(logs.output))
        self.assertTrue(torch.equal(after[0].nan_to_num(), logits[0].nan_to_num()))
        self.assertEqual(self.only(after[1]), self.expected(1, 1)[0])

    def test_arguments(self):
        check = adapter.WatermarkLogitsProcessor.validate_params
        for good in (None, {}, {"watermark": True}, {"watermark": False, "account": "a"}, {"someone else's": 1}):
            check(SamplingParams(extra_args=good))
        for bad in ({"watermark": "no"}, {"watermark": 0}, {"account": 3}, {"account": ""}, {"account": "a" * 2000}, {"account": "a"}):
            with self.assertRaises(ValueError):
                check(SamplingParams(extra_args=bad))

    def test_the_model_s_vocabulary_and_the_environment(self):
        other = types.SimpleNamespace(model_config=types.SimpleNamespace(get_vocab_size=lambda: VOCAB + 64))
        with self.assertRaises(w.InputError) as raised:
            adapter.WatermarkLogitsProcessor(other, torch.device("cpu"), False)
        self.assertIn(f"{VOCAB + 64} logits", str(raised.exception))
        del os.environ["WATERMARK_KEY"]
        adapter._needs_account.cache_clear()
        with self.assertRaises(w.InputError) as raised:
            self.processor()
        self.assertIn("WATERMARK_KEY", str(raised.exception))


class Accounts(Base):
    layers = (GREEN, {**GUMBEL, "per": "account"})

    def test_a_key_per_account(self):
        check = adapter.WatermarkLogitsProcessor.validate_params
        with self.assertRaises(ValueError) as raised:
            check(SamplingParams())
        self.assertIn("account", str(raised.exception))
        check(SamplingParams(extra_args={"watermark": False}))
        params = SamplingParams(seed=1, extra_args={"account": "alice"})
        check(params)
        processor, output = adapter.WatermarkLogitsProcessor(CONFIG, torch.device("cpu"), False), []
        processor.update_state(BatchUpdate(1, [], [(0, params, [1], output)], []))
        for step in range(30):
            output.append(self.only(processor.apply(row(1, step).unsqueeze(0))[0]))
        self.assertEqual(output, self.expected(1, 30, account="alice"))


class V2(Base):
    """As `model_runner.py` of the V2 runner drives processors: slots for requests, rows in any order, drafts."""

    def setUp(self):
        super().setUp()
        slots, longest = 4, 200
        self.ids = torch.zeros(slots, longest, dtype=torch.int32)
        self.prompts = np.zeros(slots, dtype=np.int32)
        states = types.SimpleNamespace(
            all_token_ids=types.SimpleNamespace(gpu=self.ids), prompt_len=types.SimpleNamespace(np=self.prompts)
        )
        self.processor = adapter.WatermarkLogitsProcessor(CONFIG, states)
        self.output = {}

    def add(self, slot, seed, prompt, output=(), **options):
        known = [*prompt, *output]
        self.ids[slot, : len(known)] = torch.tensor(known)
        self.prompts[slot] = len(prompt)
        self.output[slot] = list(output)
        return self.processor.add_request(slot, SamplingParams(seed=seed, **options))

    def step(self, seeds, drafts=None):
        """One step of the requests in `seeds` (slot: seed), each with its drafts; what is left in every row."""
        drafts = drafts or {}
        layout, rows = [], []
        for slot, seed in seeds.items():
            length = self.prompts[slot] + len(self.output[slot])
            fed = [int(self.ids[slot, length - 1]), *drafts.get(slot, ())]
            for offset, token in enumerate(fed):
                layout.append((slot, offset, token, length - 1 + offset))
                rows.append(row(seed, len(self.output[slot]) + offset))
        slot, offset, token, position = (torch.tensor(column, dtype=torch.int32) for column in zip(*layout, strict=True))
        order = torch.tensor(list(seeds))
        context = LogitsContext(
            expanded_idx_mapping=slot, idx_mapping=order, idx_mapping_np=order.numpy(), expanded_local_pos=offset,
            input_ids=token, pos=position, seq_lens_upper_bound_np=np.zeros(len(seeds)),
        )  # fmt: skip
        left = {}
        for (at, *_), logits in zip(layout, self.processor.apply(torch.stack(rows), context), strict=True):
            left.setdefault(at, []).append(self.only(logits))
        return left

    def commit(self, slot, tokens):
        start = self.prompts[slot] + len(self.output[slot])
        self.ids[slot, start : start + len(tokens)] = torch.tensor(tokens, dtype=torch.int32)
        self.output[slot].extend(tokens)

    def test_slots_are_used_again(self):
        self.assertTrue(issubclass(adapter.WatermarkLogitsProcessor, LogitsProcessorV2))
        self.assertTrue(self.add(0, 1, [7, 8, 9]))
        self.assertTrue(self.add(2, 2, [5]))
        self.assertFalse(self.add(1, 3, [5], extra_args={"watermark": False}))
        self.assertFalse(self.add(3, 4, [5], temperature=0.0))
        for at in range(25):
            left = self.step({2: 2, 1: 3, 0: 1} if at % 2 else {0: 1, 3: 4, 2: 2})
            self.assertTrue({1, 3}.isdisjoint(slot for slot, tokens in left.items() if tokens != [None]))
            for slot in (0, 2):
                self.commit(slot, left[slot])
        self.assertEqual(self.output[0], self.expected(1, 25))
        self.assertEqual(self.output[2], self.expected(2, 25))
        self.assertTrue(self.add(2, 5, [1, 2]))  # another request
        self.assertTrue(self.add(1, 1, [7, 8, 9], output=self.output[0]))  # the first one, resumed elsewhere
        for _ in range(10):
            left = self.step({1: 1, 2: 5})
            for slot, tokens in left.items():
                self.commit(slot, tokens)
        self.assertEqual(self.output[1], self.expected(1, 35))
        self.assertEqual(self.output[2], self.expected(5, 10))

    def test_rows_behind_drafts(self):
        self.add(0, 1, [3, 4])
        expected = self.expected(1, 60)
        while len(self.output[0]) < 50:
            at = len(self.output[0])
            right = at % 4  # so many drafts are what will be drawn
            drafts = [*expected[at : at + right], 0, 0][:3]
            left = self.step({0: 1}, {0: drafts})[0]
            agreed = next((n for n, draft in enumerate(drafts) if draft != left[n]), len(drafts))
            self.assertGreaterEqual(agreed, min(right, 3))
            self.commit(0, left[: agreed + 1])
        self.assertEqual(self.output[0], expected[: len(self.output[0])])

    def test_a_placeholder_is_an_error(self):
        self.add(0, 1, [3, 4], output=[5, 6])
        self.ids[0, 3] = -1
        with self.assertRaises(RuntimeError):
            self.step({0: 1})


class Engine(Base):
    """A whole engine on this machine: a Llama of random weights, whose vocabulary is the profile's."""

    def test_an_engine_writes_marked_text(self):
        import transformers
        import vllm

        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=VOCAB, hidden_size=128, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, head_dim=64,
            num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, initializer_range=0.2,
        )  # fmt: skip
        transformers.LlamaForCausalLM(config).save_pretrained(folder.name)
        llm = vllm.LLM(
            model=folder.name, skip_tokenizer_init=True, enforce_eager=True, dtype="float32", max_model_len=400, max_num_seqs=3,
            logits_processors=[adapter.WatermarkLogitsProcessor],
        )  # fmt: skip

        def write(params):
            prompts = [{"prompt_token_ids": [1, 5 + at]} for at in range(5)]
            return [list(output.outputs[0].token_ids) for output in llm.generate(prompts, params, use_tqdm=False)]

        def params(**options):
            return SamplingParams(max_tokens=200, min_tokens=200, detokenize=False, temperature=0.9, **options)

        marked = write(params(top_p=0.98, repetition_penalty=1.05))
        self.assertEqual([len(text) for text in marked], [200] * 5)
        report = w.Detector(profile(), NODE).detect(marked, per_record=True)
        self.assertTrue(report.detected)
        self.assertEqual(len({finding.record for finding in report.per_record if finding.log10_p < -6}), 5)
        self.assertFalse(w.Detector(profile(), "5b" * 32).detect(marked).detected)
        plain = write(params(extra_args={"watermark": False}))
        self.assertFalse(w.Detector(profile(), NODE).detect(plain).detected)
        self.assertEqual(write(params(seed=3)), write(params(seed=3)))
        with self.assertRaises(VLLMValidationError):
            write(params(extra_args={"watermark": "no"}))


if __name__ == "__main__":
    unittest.main()
