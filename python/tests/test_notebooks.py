"""What the notebooks in the repository hold: outputs of one whole run, without an error, a secret or a path of the machine."""

import json
import pathlib
import re
import unittest

NOTEBOOKS = sorted((pathlib.Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))


class Notebooks(unittest.TestCase):
    def test_they_are_executed_and_clean(self):
        self.assertEqual([path.name for path in NOTEBOOKS], ["audit-a-suspect.ipynb", "mark-and-detect.ipynb"])
        for path in NOTEBOOKS:
            cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
            self.assertEqual([cell["execution_count"] for cell in cells], list(range(1, len(cells) + 1)), path.name)
            outputs = [output for cell in cells for output in cell["outputs"]]
            self.assertFalse([output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"])
            data = [output.get("data", {}) for output in outputs]
            self.assertGreaterEqual(sum("image/png" in output for output in data), 2)
            # Base64 has no dots and dashes, but slashes and letters.
            texts = [output.get("text", "") for output in outputs]
            texts += [text for output in data for kind, text in output.items() if kind != "image/png"]
            for text in texts:
                text = "".join(text)
                self.assertIsNone(re.search(r"(?<![\w<])/(home|root|tmp|work|usr|var|Users)\b", text), text[:200])
                # The values of beacons are public, and the conditions of a bundle state them. Anything else of that form may be a key.
                self.assertIsNone(re.search(r"(?<!had the value )\b[0-9a-f]{64}\b", text), path.name)


if __name__ == "__main__":
    unittest.main()
