"""What the wheel promises without Spark. Run by scripts/test in a bare virtual environment."""

import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import watermark_core
from watermark_core import _lib

MODULES = ["corpus", "endpoint", "model", "paired", "plan", "plot", "prf", "scheme", "spark", "stats", "suspect"]
NODE = "5a" * 32
KEY = f'{{"key": "watermark-key/1", "path": "", "node": "{NODE}"}}'
PROFILE = (
    '{"profile": "watermark-profile/1", "name": "t", "path": "e", "tokenizer": {"sha256": "' + "0" * 64 + '", '
    '"vocab_size": 100, "special_token_ids": []}, "layers": [{"name": "l", "scheme": "gumbel", "width": 2, '
    '"prf": "chacha20-v1"}], "repeats": "unmarked"}'
)


class Package(unittest.TestCase):
    def test_import_is_quick_and_takes_nothing_else_along(self):
        code = "import sys, time; t = time.perf_counter(); import watermark_core; print(time.perf_counter() - t, *sys.modules)"
        best = 1.0
        for _ in range(5):
            seconds, *modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
            best = min(best, float(seconds))
        self.assertLess(best, 0.05)
        self.assertFalse({"matplotlib", "numpy", "pandas", "pyarrow", "pyspark", "torch"} & set(modules))

    def test_everything_that_is_named_is_there(self):
        for module in (watermark_core, *(importlib.import_module(f"watermark_core.{name}") for name in MODULES)):
            for name in module.__all__:
                self.assertTrue(hasattr(module, name), f"{module.__name__}.{name}")

    def test_errors_name_what_is_wrong_and_no_secret(self):
        stages = _lib.Stages([PROFILE], [], [("k", KEY)], input_format="tokens")
        self.assertNotIn(NODE, repr(stages))
        for arguments, options, says in [
            ((["{}"], [], [("k", KEY)]), {"input_format": "tokens"}, "profiles[0]"),
            (([PROFILE], [], [("k", KEY)]), {}, "tokenizer of profile"),
            (([PROFILE], [], [("k", KEY[:-1])]), {"input_format": "tokens"}, "key k"),
            (([PROFILE], [], []), {"input_format": "tokens"}, "no keys"),
            (([PROFILE], [], [("k", KEY)]), {"input_format": "xml"}, "xml"),
            (([PROFILE], [b"{}"], [("k", KEY)]), {}, "tokenizers[0]"),
        ]:
            with self.assertRaises(watermark_core.WatermarkError) as raised:
                _lib.Stages(*arguments, **options)
            self.assertIn(says, str(raised.exception))
            self.assertNotIn(NODE, str(raised.exception))
        for call in (stages.pairs, lambda data: stages.read(data, _lib.BatchCounts()), lambda data: stages.texts(data, "[[0]]")):
            for data in (b"", b"ARROW1", os.urandom(1000)):
                with self.assertRaises(watermark_core.WatermarkError):
                    call(data)
        with self.assertRaises(watermark_core.WatermarkError):
            stages.conclude(["{}"], b"", b"", 0.5)
        with self.assertRaises(watermark_core.WatermarkError):
            stages.conclude([], b"", b"", 2.0)

    def test_key_files_of_others_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "k.json")
            path.write_text(KEY)
            path.chmod(0o600)
            self.assertIn(NODE, _lib.key_text(path))
            path.chmod(0o640)
            with self.assertRaises(watermark_core.WatermarkError) as raised:
                _lib.key_text(path)
            self.assertIn("k.json", str(raised.exception))
            self.assertNotIn(NODE, str(raised.exception))


if __name__ == "__main__":
    unittest.main()
