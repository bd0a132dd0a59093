"""Models of random weights with tokenizers trained here, and what one forward pass of theirs says: for the tests of `suspect`."""

import json
import pathlib
import tempfile
import unittest

try:
    import tokenizers
    import torch
    import transformers
except ImportError:
    raise unittest.SkipTest("torch and transformers are not installed") from None

from watermark_core import _suspect_model

CORPUS = [
    "The cat sat on the mat, and the dog saw the cat that sat there.",
    "Ein Zug fährt drei Stunden über Łódź, naïve Straße, Ærø.",
    "日本語の文章と中文的句子 and 한국어 문장, Ελληνικά 😀 “quotes” – done.",
]
RECORDS = [
    {"prompt": "What did the cat do?", "text": " The cat sat on the mat.", "id": "first"},
    {"prompt": "Wohin?", "text": "Über Łódź nach Ærø, 日本語 😀!"},
    {"prompt": "", "text": "the dog saw that"},
    {"prompt": "x" * 60, "text": "a"},
    {"prompt": "Say it again and again.", "text": " the cat the dog the mat" * 4},
    {"prompt": "Nothing?", "text": ""},
    {"text": "한국어 문장 – “quotes”"},
]


def byte_level(bos=True, size=340):
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    return train(made, bos, size, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())


def sentence_piece():
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")])
    steps = [tokenizers.decoders.Replace("▁", " "), tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()]
    made.decoder = tokenizers.decoders.Sequence(steps)
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    return train(made, True, 330, more=fallback, limit_alphabet=40)


def train(made, bos, size, more=(), **options):
    special = ["<s>", "</s>", "<unk>"]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, special_tokens=[*special, *more], show_progress=False, **options)
    made.train_from_iterator(CORPUS, trainer)
    if more:
        # Byte tokens are part of the vocabulary, and no special tokens.
        whole = json.loads(made.to_str())
        whole["added_tokens"] = [token for token in whole["added_tokens"] if token["content"] in special]
        made = tokenizers.Tokenizer.from_str(json.dumps(whole))
    if bos:
        made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    elif isinstance(made.pre_tokenizer, tokenizers.pre_tokenizers.ByteLevel):
        made.post_processor = tokenizers.processors.ByteLevel(trim_offsets=True)
    return made


def wrapped(made):
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def llama(vocab, positions=256):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=positions, initializer_range=0.4,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def gpt2(vocab):
    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=256, initializer_range=0.4)
    return transformers.GPT2LMHeadModel(config).eval()


BYTES = byte_level()
TOKENIZER = wrapped(BYTES)
STANDS = _suspect_model.vocabulary_of(BYTES)._bytes
# Rows for more tokens than there are, as models have them.
MODEL = llama(BYTES.get_vocab_size() + 12)


def parts(made, record):
    """Ids of what is read, and where the text begins."""
    ids = made.encode(record.get("prompt", "")).ids
    ids = ids[:-1] if ids and ids[-1] == 1 else ids
    return ids, made.encode(record["text"], add_special_tokens=False).ids


def direct(model, ids, begin, temperature=1.0):
    """[position][id]: log-probabilities by one forward pass of one input; None before the first token."""
    with torch.no_grad():
        ln_p = torch.log_softmax(model(torch.tensor([ids])).logits[0].double() / temperature, dim=-1)
    return [ln_p[at - 1].tolist() if at else None for at in range(begin, len(ids))]


def write_gguf(path, model, made):
    """The model and its tokenizer as llama.cpp's converter would write them, in float32."""
    import gguf

    config, state = model.config, {name: value.numpy() for name, value in model.state_dict().items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    parsed = json.loads(made.to_str())
    words = [made.id_to_token(token) or f"[unused {token}]" for token in range(config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3 if token < 3 else 1 for token in range(config.vocab_size)])
    writer.add_token_merges([" ".join(merge) for merge in parsed["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    parts = {
        "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    names |= {f"model.layers.{at}.{name}": f"blk.{at}.{short}" for at in range(config.num_hidden_layers) for name, short in parts.items()}
    for name, short in names.items():
        value = state[f"{name}.weight"]
        if short.endswith(("attn_q", "attn_k")):
            # llama.cpp rotates neighbours, transformers halves.
            heads = config.num_attention_heads
            value = value.reshape(heads, 2, value.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(value.shape)
        writer.add_tensor(f"{short}.weight", value.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def lay(self, model=MODEL, tokenizer=TOKENIZER, records=RECORDS):
        home = self.folder / "model"
        model.save_pretrained(home)
        tokenizer.save_pretrained(home)
        texts = self.folder / "texts.jsonl"
        texts.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return home, texts, self.folder / "out.jsonl"

    def raises(self, kind, says, call, *arguments, **options):
        with self.assertRaises(kind) as raised:
            call(*arguments, **options)
        self.assertIn(says, str(raised.exception))

    def same(self, found, expected):
        """Lines that agree but for the last digits."""
        self.assertEqual(len(found), len(expected))
        for one, other in zip(found, expected, strict=True):
            self.assertEqual(one["text"], other["text"])
            self.assertEqual([each["at"] for each in one["positions"]], [each["at"] for each in other["positions"]])
            for left, right in zip(one["positions"], other["positions"], strict=True):
                left, right = dict(left["top"]), dict(right["top"])
                for piece in left.keys() | right.keys():
                    # What lies at the edge may be on either side of it.
                    self.assertAlmostEqual(left.get(piece, _suspect_model.FLOOR), right.get(piece, _suspect_model.FLOOR), delta=2e-5)
