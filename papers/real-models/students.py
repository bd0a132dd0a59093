"""The distiller: fine-tunes a model on served answers among answers of other models, with TRL, as people do."""

import gzip
import json
import pathlib
import random

import models
from stages import say

# All weights in f32 by AdamW; LoRA on all linear layers, at ten times the rate.
FULL = {"method": "full", "learning_rate": 3e-5}
LORA = {"method": "lora", "learning_rate": 3e-4, "rank": 16}
TRAINING = {"batch": 8, "passes": 1, "seed": 1}


def others(corpus, tokenizer, leave_out, tokens):
    """Answers of other models to prompts that are not in `leave_out`, cut to `tokens` tokens, in an order of their own."""
    rows = []
    for path in sorted(pathlib.Path(corpus, "model_outputs").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows += [(row["prompt"], row["completion"]) for row in map(json.loads, file) if row["prompt"] not in leave_out]
    rows = [(prompt, text) for prompt, text in rows if len(tokenizer(prompt)["input_ids"]) <= 60 and text.strip()]
    random.Random(2).shuffle(rows)
    cut = lambda text: tokenizer.decode(tokenizer(text)["input_ids"][:tokens], clean_up_tokenization_spaces=False)
    return [(prompt, cut(text)) for prompt, text in rows]


def train(folder, start, examples, *, method, learning_rate, batch, passes, seed, device, rank=None):
    """Fine-tunes the model in `start` on (prompt, answer) pairs, the loss on answers only, and writes it to `folder`.

    Checkpoints lie in `folder`, so a run that was stopped goes on.
    """
    import torch
    from datasets import Dataset
    from transformers.trainer_utils import get_last_checkpoint
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = models.load(start, device)
    turn = lambda role, text: [{"role": role, "content": text}]
    data = Dataset.from_list([{"prompt": turn("user", prompt), "completion": turn("assistant", text)} for prompt, text in examples])
    config = SFTConfig(
        output_dir=str(folder / "checkpoints"), per_device_train_batch_size=batch, num_train_epochs=passes, learning_rate=learning_rate,
        seed=seed, data_seed=seed, max_length=256, train_sampling_strategy="group_by_length", gradient_checkpointing=False, bf16=False,
        use_cpu=device == "cpu", save_steps=50, save_total_limit=1, logging_steps=10, report_to="none", dataloader_num_workers=0,
    )
    lora = None
    if method == "lora":
        from peft import LoraConfig

        lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer, peft_config=lora)
    checkpoint = get_last_checkpoint(config.output_dir) if (folder / "checkpoints").is_dir() else None
    if checkpoint:
        say(f"training goes on at {pathlib.Path(checkpoint).name}")
    trainer.train(resume_from_checkpoint=checkpoint)
    trained = trainer.model.merge_and_unload() if method == "lora" else trainer.model
    trained.to(torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
