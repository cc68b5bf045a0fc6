"""Memory of one training worker above what its imports hold, reckoned from the model's shape and the recipe.

Weights, gradients and AdamW's moments as ZeRO shards them: Rajbhandari et al. 2020, section 3. Activations: what autograd keeps of a
gated transformer layer with rotary embeddings, counted tensor by tensor (docs/training-estimates.md has the measured ones).
"""

from dataclasses import dataclass, fields

from services.trainer.config import TrainingConfig
from services.trainer.shapes import Shape

BUCKET_ELEMENTS = 500_000_000  # most that DeepSpeed gathers before it sends
CHUNK_TOKENS = 1024  # targets whose logits exist at once
LOGIT_BYTES = 14  # of one logit while its chunk is at work: itself, in float32, its probability, its gradient
FIXED_BYTES = {
    False: 60 << 20,
    True: 300 << 20,
}  # kernels, threads and heaps of a processor; workspaces of a GPU
QUANTIZED_BYTES = 0.53  # of a 4-bit weight with its scales


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker, by what holds them; on the device, but for `host`."""

    weights: float
    gradients: float
    moments: float  # AdamW's two, and ZeRO's own copy of the weights
    copies: float  # bfloat16 weights of autocast
    buckets: float
    activations: float
    head: float
    fixed: float
    host: float = 0.0  # of the machine, where something is offloaded

    @property
    def total(self) -> int:
        """Of the device."""
        return round(sum(getattr(self, field.name) for field in fields(self)) - self.host)

    @property
    def largest(self) -> str:
        """What takes most, and how much."""
        parts = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "host"}
        return ", ".join(f"{name} {size(parts[name])}" for name in sorted(parts, key=lambda n: -parts[n])[:3])


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def worker_memory(config: TrainingConfig, shape: Shape, gpu: bool, bf16: bool) -> Memory:
    """At the step that needs most."""
    workers, stage = config.num_workers, config.zero_stage
    trained = shape.parameter_count
    weights = 4.0 * trained
    if config.method == "lora":
        trained = shape.adapter_count(config.r, config.target_modules, config.use_dora)
        weights = 4.0 * trained + frozen_bytes(config, shape)
    bucket = 4.0 * min(trained, BUCKET_ELEMENTS)
    shard = trained / workers
    activations = activation_bytes(config, shape, gpu, bf16)
    head = head_bytes(config, shape)
    copies = copy_bytes(config, shape, bf16)
    host = 0.0
    if stage == 0:
        gradients, moments = 4.0 * trained, 8.0 * trained
        # Gradients are gathered when the backward pass is done and its activations are gone.
        buckets = max(0.0, bucket - activations - head - copies) if workers > 1 else 0.0
    else:
        # Stages 2 and 3 give gradients away bucket by bucket; each keeps its own share, and its own copy of the weights.
        gradients = (4.0 * trained if stage == 1 else bucket) + 4.0 * shard
        moments, buckets = 12.0 * shard, bucket
    if stage == 3:
        layer = 4.0 * min(trained, shape.linear_count / shape.layer_count)
        # What is frozen stays whole: only what is trained goes into the engine. Two layers are gathered at once.
        weights += 4.0 * shard - 4.0 * trained + 2 * layer
    if gpu and config.offload_optimizer == "cpu":
        host, moments, gradients = moments + 4.0 * shard, 0.0, gradients - 4.0 * shard
    if gpu and config.offload_param == "cpu":
        layer = 4.0 * shape.linear_count / shape.layer_count
        host, weights = host + weights, 2 * layer
    return Memory(
        weights, gradients, moments, copies, buckets, activations, head, fixed=FIXED_BYTES[gpu], host=host
    )


def frozen_bytes(config: TrainingConfig, shape: Shape) -> float:
    """The base of adapters."""
    if not config.load_in_4bit:
        return 4.0 * shape.parameter_count
    return QUANTIZED_BYTES * shape.linear_count + 2.0 * (shape.parameter_count - shape.linear_count)


def copy_bytes(config: TrainingConfig, shape: Shape, bf16: bool) -> float:
    """Weights in bfloat16 that autocast makes for a pass; of a base in 4 bits those of one layer at a time."""
    if config.load_in_4bit:
        return 2.0 * shape.linear_count / shape.layer_count
    return 2.0 * (shape.linear_count + shape.vocabulary_size * shape.hidden_size) if bf16 else 0.0


def activation_bytes(config: TrainingConfig, shape: Shape, gpu: bool, bf16: bool) -> float:
    """Of one micro-batch, and what its backward pass needs beside them."""
    tokens = config.per_device_train_batch_size * config.max_length
    layer = layer_bytes(config, shape, gpu, bf16)
    widest = max(shape.inner_size, shape.hidden_size, shape.query_size)
    working = tokens * 4.0 * (3 * widest + 4 * shape.hidden_size)
    if config.gradient_checkpointing:
        return tokens * (4.0 * shape.hidden_size * shape.layer_count + layer) + working
    return tokens * layer * shape.layer_count + working


def layer_bytes(config: TrainingConfig, shape: Shape, gpu: bool, bf16: bool) -> float:
    """That autograd keeps of one token in one layer."""
    gated = shape.inner_matrices > 2
    # Keys and values are kept once for each head that reads them.
    if bf16:
        kept = 26 * shape.hidden_size + 8 * shape.query_size + (8 if gated else 12) * shape.inner_size
    else:
        kept = 24 * shape.hidden_size + 16 * shape.query_size + (16 if gated else 22) * shape.inner_size
    each = 2 if bf16 else 4
    if config.attn_implementation == "eager":
        kept += config.max_length * shape.head_count * (each * 2 + 4)
    elif config.attn_implementation != "flash_attention_2" and not gpu:
        kept += config.max_length * each  # the mask that keeps segments apart
    if config.method == "lora":
        kept += lora_bytes(config, shape, bf16)
    return float(kept)


def lora_bytes(config: TrainingConfig, shape: Shape, bf16: bool) -> float:
    """What adapters keep of a token in a layer: their own inputs and the inner values of each."""
    each = 2 if bf16 else 4
    sides = 6 * shape.hidden_size if not config.lora_dropout else 8 * shape.hidden_size
    return each * (7 * config.r + sides)


def head_bytes(config: TrainingConfig, shape: Shape) -> float:
    """Logits of one chunk of targets, the hidden states of all, and the gradient of the head."""
    tokens = config.per_device_train_batch_size * config.max_length
    chunk = min(tokens, CHUNK_TOKENS)
    return LOGIT_BYTES * chunk * shape.vocabulary_size + 8.0 * tokens * shape.hidden_size
