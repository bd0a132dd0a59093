"""The adapter of ONNX Runtime GenAI in that library, on a model of random weights that its own builder has converted."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import GREEN, GUMBEL, NODE, VOCAB, profile, tokenizer

try:
    import numpy
    import onnx_ir  # noqa: F401  the model builder needs it
    import onnxruntime_genai
    import tokenizers
    import torch
    import transformers
except ImportError:
    raise unittest.SkipTest("onnxruntime-genai, or what its model builder needs (onnx_ir, torch, transformers), is not installed") from None

from watermark_core.onnxruntime_genai import Watermark

PROMPTS = numpy.array([[1, 5, 6], [1, 7, 8]], dtype=numpy.int32)


class OnnxRuntimeGenai(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        torch.manual_seed(0)
        source, target = (str(pathlib.Path(folder.name, name)) for name in ("torch", "onnx"))
        config = transformers.LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=0,  # special in the profile
            pad_token_id=0,
        )
        transformers.LlamaForCausalLM(config).save_pretrained(source)
        words = tokenizers.Tokenizer.from_str(tokenizer())
        special = {"bos_token": "w1", "eos_token": "w0", "pad_token": "w0", "unk_token": "w0"}
        transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(source)
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", source, "-o", target, "-p", "fp32", "-e", "cpu"]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            raise AssertionError(built.stderr)
        cls.model = onnxruntime_genai.Model(target)

    def generator(self, prompts=PROMPTS, **search):
        params = onnxruntime_genai.GeneratorParams(self.model)
        params.set_search_options(batch_size=len(prompts), max_length=300, **search)
        made = onnxruntime_genai.Generator(self.model, params)
        made.append_tokens(prompts)
        return made

    def write(self, mark, generator, prompt=PROMPTS.shape[1]):
        while not generator.is_done():
            mark(generator)
            generator.generate_next_token()
        rows = [generator.get_sequence(row)[prompt:].tolist() for row in range(2)]
        return [row[: row.index(0)] if 0 in row else row for row in rows]  # a finished row is padded

    def test_marked_text_is_found_and_unmarked_is_not(self):
        options = {"temperature": 0.8, "top_p": 0.95}
        detector = w.Detector(profile(), NODE)
        mark = Watermark(profile(), NODE, seed=3, batch_size=2, **options)
        marked = self.write(mark, self.generator())
        self.assertTrue(all(finding.verdict == "detected" for finding in detector.detect(marked)))
        self.assertFalse(w.Detector(profile(), "5b" * 32).detect(marked).detected)
        self.assertFalse(detector.detect(self.write(Watermark(profile(), NODE, seed=3, batch_size=2, marked=False), self.generator())).detected)
        self.assertNotEqual(*marked)
        # The same again after a reset, and where the engine draws from what is left.
        mark.reset()
        self.assertEqual(self.write(mark, self.generator()), marked)
        mark.reset()
        self.assertEqual(self.write(mark, self.generator(do_sample=True, temperature=0.7, top_k=5)), marked)

    def test_tokens_are_those_of_a_session(self):
        generator, mark = self.generator(PROMPTS[:1]), Watermark(profile(GUMBEL), NODE, seed=3)
        session, plain = w.Marker(profile(GUMBEL), NODE).session(seed=0), 0
        for _ in range(100):
            row = numpy.ascontiguousarray(generator.get_logits()[0, -1])
            mark(generator)
            generator.generate_next_token()
            token = int(generator.get_sequence(0)[-1])
            expected = session.sample(row)
            if session.mark_state == "marked":
                self.assertEqual(token, expected)
            else:
                plain += 1  # drawn by the seed, which is another for every row
            session.accept(token)
        self.assertLess(plain, 50)

    def test_a_rewind_is_followed_and_appended_tokens_need_a_reset(self):
        generator, mark = self.generator(PROMPTS[:1]), Watermark(profile(), NODE, seed=3)
        for _ in range(20):
            mark(generator)
            generator.generate_next_token()
        first = generator.get_sequence(0).tolist()
        generator.rewind_to(len(first) - 5)
        generator.append_tokens(numpy.array([first[-5]], dtype=numpy.int32))
        for _ in range(4):
            mark(generator)
            generator.generate_next_token()
        self.assertEqual(generator.get_sequence(0).tolist(), first)
        generator.append_tokens(numpy.array([4, 5, 6], dtype=numpy.int32))
        with self.assertRaises(w.InputError) as raised:
            mark(generator)
        self.assertIn("call reset", str(raised.exception))
        mark.reset()
        mark(generator)

    def test_what_is_wrong_is_said(self):
        with self.assertRaises(w.ParameterError):
            Watermark(profile(), NODE, seed=1, top_p=2.0)
        other = profile(GREEN)
        other["tokenizer"] = {**other["tokenizer"], "vocab_size": VOCAB + 64}
        with self.assertRaises(w.InputError) as raised:
            Watermark(other, NODE, seed=1, batch_size=2)(self.generator())
        self.assertIn(f"{VOCAB} logits", str(raised.exception))
        # The engine gives beams as rows, and ends the process where it is asked for their sequences.
        for generator in (self.generator(PROMPTS[:1], num_beams=2), self.generator()):
            with self.assertRaises(w.InputError) as raised:
                Watermark(profile(), NODE, seed=1)(generator)
            self.assertIn("2 rows of logits for batch_size=1", str(raised.exception))

    def test_a_token_that_the_engine_forbids_is_noticed(self):
        mark = Watermark(profile(), NODE, seed=3, batch_size=2)
        with self.assertRaises(w.InputError) as raised:
            self.write(mark, self.generator(no_repeat_ngram_size=1))
        self.assertIn("was drawn and the generator took", str(raised.exception))

    def test_one_is_one_generation(self):
        mark, first = Watermark(profile(), NODE, seed=3), self.generator(PROMPTS[:1])
        mark(first)
        with self.assertRaises(w.InputError) as raised:
            mark(self.generator(PROMPTS[1:]))
        self.assertIn("call reset", str(raised.exception))
        mark.reset()
        mark(self.generator(PROMPTS[1:]))
        params = onnxruntime_genai.GeneratorParams(self.model)
        with self.assertRaises(w.InputError) as raised:
            Watermark(profile(), NODE, seed=3)(onnxruntime_genai.Generator(self.model, params))
        self.assertIn("append the prompt", str(raised.exception))


if __name__ == "__main__":
    unittest.main()
