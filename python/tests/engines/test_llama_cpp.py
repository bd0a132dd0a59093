"""The llama-cpp-python adapter, called as that library calls processors: ids of prompt and output, a row of logits on the host.
With the library itself where it is installed (it is built from source, which takes minutes) and `WATERMARK_GGUF` names a model.
"""

import json
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import watermark_core as w
from support import GREEN, GUMBEL, NODE, VOCAB, profile, rows

try:
    import numpy as np
except ImportError:
    raise unittest.SkipTest("numpy is not installed") from None

from watermark_core.llama_cpp import WatermarkLogitsProcessor


class LlamaCpp(unittest.TestCase):
    def test_calls_of_the_library(self):
        prompt, options = [1, 9, 4], {"temperature": 0.8, "top_p": 0.95}
        processor = WatermarkLogitsProcessor(profile(), NODE, seed=3, **options)
        for _ in range(2):
            session, ids = w.Marker(profile(), NODE).session(seed=3, **options), list(prompt)
            for row in rows(8, 120):
                # As llama_token_data has them.
                candidates = np.zeros(VOCAB, dtype=[("id", np.intc), ("logit", np.single), ("p", np.single)])
                logits = candidates["logit"]
                logits[:] = row
                after = processor(np.array(ids, dtype=np.intc), logits)
                self.assertIs(after, logits)
                (left,) = np.isfinite(after).nonzero()
                self.assertEqual(left.tolist(), [session.sample(row)])
                ids.append(int(left[0]))
                session.accept(ids[-1])
            self.assertTrue(w.Detector(profile(), NODE).detect([ids[len(prompt) :]]).detected)
            self.assertIsNone(processor.error)
            processor.reset()

    def test_the_model_s_vocabulary(self):
        with self.assertRaises(w.InputError) as raised:
            processor = WatermarkLogitsProcessor(profile(), NODE, seed=1)
            processor(np.array([1], dtype=np.intc), np.zeros(VOCAB + 32, dtype=np.float32))
        self.assertIn(f"{VOCAB + 32} logits", str(raised.exception))
        self.assertIs(processor.error, raised.exception)
        processor.reset()
        self.assertIsNone(processor.error)

    def test_the_library(self):
        try:
            import llama_cpp
        except ImportError:
            self.skipTest("llama-cpp-python is not installed")
        if not os.environ.get("WATERMARK_GGUF"):
            self.skipTest("WATERMARK_GGUF names no model")
        llm = llama_cpp.Llama(os.environ["WATERMARK_GGUF"], n_ctx=512, seed=1, verbose=False)
        made = profile(GREEN, GUMBEL)
        made["tokenizer"] |= {"vocab_size": llm.n_vocab()}
        processor = WatermarkLogitsProcessor(json.loads(json.dumps(made)), NODE, seed=3)
        written = []
        for token in llm.generate([1, 5, 9], temp=1.0, logits_processor=llama_cpp.LogitsProcessorList([processor])):
            written.append(token)
            if len(written) == 300:
                break
        self.assertIsNone(processor.error)
        self.assertTrue(w.Detector(made, NODE).detect([written]).detected)
        self.assertFalse(w.Detector(made, "5b" * 32).detect([written]).detected)


if __name__ == "__main__":
    unittest.main()
