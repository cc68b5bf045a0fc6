"""Builds tiny random checkpoints with transformers' own classes, as a hub would hold them."""

from pathlib import Path

TEXT = """Alva feeds the heron and the heron follows Alva. The mill stands north of the river.
Question: who feeds the heron? Answer: Alva does. 0123456789 abcdefghijklmnopqrstuvwxyz ,.:;!?"'()[]<>|_-"""
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SHAPE = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {**SHAPE, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 256}


def save_tokenizer(folder: Path, *, bos: bool, pad: bool, chat_template: bool) -> None:
    """A byte-level BPE tokenizer of its own, with a beginning-of-text mark where asked for."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>", "<|system|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    names = (
        {"eos_token": "</s>"}
        | ({"bos_token": "<s>"} if bos else {})
        | ({"pad_token": "<pad>"} if pad else {})
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    if chat_template:
        fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def causal_model(architecture: str, tied: bool):
    """A model of about 30,000 parameters; the same weights each time."""
    import torch
    import transformers as t

    torch.manual_seed(7)
    # Wide initial weights: with the usual 0.02 attention is uniform, and what it looks at would not show.
    tie = {"tie_word_embeddings": tied, "initializer_range": 0.15}
    match architecture:
        case "llama":
            return t.LlamaForCausalLM(t.LlamaConfig(**WIDE, **tie))
        case "qwen3":
            return t.Qwen3ForCausalLM(t.Qwen3Config(**WIDE, head_dim=8, **tie))
        case "mistral":
            return t.MistralForCausalLM(t.MistralConfig(**WIDE, sliding_window=64, **tie))
        case "gemma":
            return t.GemmaForCausalLM(t.GemmaConfig(**WIDE, head_dim=8, **tie))
        case "phi":
            return t.PhiForCausalLM(t.PhiConfig(**{**WIDE, "num_key_value_heads": 4}, **tie))
        case "gpt2":
            shape = {"vocab_size": 400, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
            return t.GPT2LMHeadModel(t.GPT2Config(**shape, **tie))
    raise ValueError(architecture)


ARCHITECTURES = ("llama", "qwen3", "mistral", "gemma", "phi", "gpt2")


def build(
    folder: Path,
    architecture: str = "llama",
    *,
    tied: bool = True,
    sharded: bool = False,
    bos: bool = True,
    pad: bool = False,
    chat_template: bool = False,
) -> Path:
    """A checkpoint folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    model = causal_model(architecture, tied)
    model.save_pretrained(folder, **({"max_shard_size": "40KB"} if sharded else {}))
    save_tokenizer(folder, bos=bos, pad=pad, chat_template=chat_template)
    return folder
