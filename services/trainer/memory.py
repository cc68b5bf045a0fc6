"""Memory of one training worker above what its imports hold, reckoned from the model's shape and the recipe.

Weights, gradients and AdamW's moments as ZeRO shards them: Rajbhandari et al. 2020, section 3. Activations: what autograd keeps of a
gated transformer layer with rotary embeddings, counted tensor by tensor (docs/training-estimates.md has the measured ones).
"""

from dataclasses import dataclass, fields

from ingrain.units import size
from services.trainer.config import TrainingConfig
from services.trainer.kernels import Texts, kernel_bytes
from services.trainer.shapes import Shape

BUCKET_ELEMENTS = 500_000_000  # most that DeepSpeed gathers before it sends
LIVE_PARAMETERS = 1_000_000_000  # most that stage 3 keeps gathered (stage3_max_live_parameters)
LOGIT_BYTES = 128 << 20  # most of the logits that exist at once, as losses.py makes them
TEXT_SCORES = {
    True: 1024,
    False: 256,
}  # by bfloat16: longest text whose attention scores a processor keeps (attention.py)
FIXED_BYTES = {
    False: 60 << 20,
    True: 300 << 20,
}  # kernels, threads and heaps of a processor; workspaces of a GPU
QUANTIZED_BYTES = 0.53  # of a 4-bit weight with its scales
TOGETHER_BYTES = (
    100e6,
    100e6,
    100e6,
    145e6,
)  # by ZeRO's stage, of several workers on processors; fitted (docs/training-estimates.md)
ANY_TEXTS = Texts()


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
    kernels: float  # compiled for the shapes that came, on a processor
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


def worker_memory(
    config: TrainingConfig, shape: Shape, gpu: bool, bf16: bool, texts: Texts = ANY_TEXTS
) -> Memory:
    """At the step that needs most. `texts`: what is known of the data."""
    workers, stage = config.num_workers, config.zero_stage
    trained = shape.parameter_count
    weights = 4.0 * trained
    if config.method == "lora":
        trained = shape.adapter_count(config.r, config.target_modules, config.use_dora)
        weights = 4.0 * trained + frozen_bytes(config, shape)
    bucket = 4.0 * min(trained, BUCKET_ELEMENTS)
    shard = trained / workers
    activations = activation_bytes(config, shape, gpu, bf16, min(texts.tokens, config.max_length))
    head = head_bytes(config, shape, gpu, bf16)
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
        # What is frozen stays whole: only what is trained goes into the engine. Gathered weights stay up to a limit.
        weights += 4.0 * (shard - trained + min(trained, LIVE_PARAMETERS))
    if gpu and config.offload_optimizer == "cpu":
        host, moments, gradients = moments + 4.0 * shard, 0.0, gradients - 4.0 * shard
    if gpu and config.offload_param == "cpu":
        layer = 4.0 * shape.linear_count / shape.layer_count
        host, weights = host + weights, 2 * layer
    return Memory(
        weights,
        gradients,
        moments,
        copies,
        buckets,
        activations,
        head,
        kernels=0.0 if gpu or not bf16 else kernel_bytes(config, texts),
        fixed=FIXED_BYTES[gpu] + (TOGETHER_BYTES[stage] if workers > 1 and not gpu else 0.0),
        host=host,
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


def activation_bytes(
    config: TrainingConfig, shape: Shape, gpu: bool, bf16: bool, text_tokens: float
) -> float:
    """Of one micro-batch, and what its backward pass needs beside them."""
    tokens = config.per_device_train_batch_size * config.max_length
    layer = layer_bytes(config, shape, gpu, bf16, text_tokens)
    widest = max(shape.inner_size, shape.hidden_size, shape.query_size)
    working = tokens * 4.0 * (3 * widest + 4 * shape.hidden_size)
    if config.gradient_checkpointing:
        return tokens * (4.0 * shape.hidden_size * shape.layer_count + layer) + working
    return tokens * layer * shape.layer_count + working


def layer_bytes(config: TrainingConfig, shape: Shape, gpu: bool, bf16: bool, text_tokens: float) -> float:
    """That autograd keeps of one token in one layer."""
    gated = shape.inner_matrices > 2
    each = 2 if bf16 else 4
    # Queries, keys, values and what attention makes of them; norms and the residual stream stay in float32.
    kept = 2.0 * each * (shape.query_size + shape.key_value_size)
    if bf16:
        kept += 26 * shape.hidden_size + (8 if gated else 12) * shape.inner_size
    else:
        kept += 24 * shape.hidden_size + (16 if gated else 22) * shape.inner_size
    if config.attn_implementation == "eager":
        kept += config.max_length * shape.head_count * (each * 2 + 4)
    elif config.attn_implementation == "sdpa":
        kept += config.max_length * each  # the mask that keeps texts apart
    elif not gpu and text_tokens <= TEXT_SCORES[bf16]:
        kept += text_tokens * shape.head_count * each
    if config.method == "lora":
        kept += lora_bytes(config, shape, bf16)
    return kept


def lora_bytes(config: TrainingConfig, shape: Shape, bf16: bool) -> float:
    """What adapters keep of a token in a layer: their own inputs and the inner values of each."""
    each = 2 if bf16 else 4
    inputs = 6 * shape.hidden_size if not config.lora_dropout else 8 * shape.hidden_size
    return float(each * (7 * config.r + inputs))


def head_bytes(config: TrainingConfig, shape: Shape, gpu: bool, bf16: bool) -> float:
    """Logits of the part that is at work, hidden states with their gradients, and the gradient of the head's weights."""
    each = 2 if bf16 else 4
    tokens = config.per_device_train_batch_size * config.max_length
    logits = min(float(LOGIT_BYTES), each * tokens * shape.vocabulary_size)
    if gpu:  # where they are worked on as a whole, in float32
        logits += 2 * 4 / each * logits
    weights = 4.0 * shape.vocabulary_size * shape.hidden_size if config.method == "full" else 0.0
    return logits + 2.0 * (4 + each) * tokens * shape.hidden_size + weights
