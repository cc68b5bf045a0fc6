"""What door and engine say to each other: frozen plain values, so that they travel through Ray as they are."""

from dataclasses import dataclass, field
from typing import Any

from servicekit import errors

METHODS = 6  # raised when replicas get methods or values that a door relies on: those of an older release are replaced


@dataclass(frozen=True)
class EndpointRef:
    """The server that answers for a model, and the name of the variable with its key: never the key."""

    base_url: str
    model_id: str
    api_key_ref: str = ""


@dataclass(frozen=True)
class ModelRef:
    """A model as the trainer describes it. `sha256` names its bytes: caches are keyed by it, never by the name."""

    name: str
    sha256: str
    uri: str
    chat_template: bool
    context_window: int
    parameter_count: int
    layer_count: int
    hidden_size: int
    base: "ModelRef | None" = None  # of an adapter
    endpoint: EndpointRef | None = None  # no files then, and no engine

    @property
    def key(self) -> str:
        """What is computed with these bytes; an adapter's depends on its base as well."""
        return f"{self.sha256}-{self.base.sha256}" if self.base else self.sha256


@dataclass(frozen=True)
class ContextRef:
    """Documents as one text and its digest; engines key their caches by model and text. `pinned`: whoever has room keeps it."""

    sha256: str
    text: str
    pinned: bool = False


@dataclass(frozen=True)
class Raw:
    """Text as it is, without a chat template."""

    text: str


@dataclass(frozen=True)
class TokenPrompt:
    """What is read, token by token."""

    ids: tuple[int, ...]


@dataclass(frozen=True)
class ChatPrompt:
    """Roles and what they said, in order."""

    turns: tuple[tuple[str, str], ...]


Prompt = (
    str | Raw | TokenPrompt | ChatPrompt
)  # a str is a user's message, or a text where there is no chat template


@dataclass(frozen=True)
class ScoreCall:
    model: ModelRef
    context: ContextRef | None
    items: list[tuple[str, list[str]]]  # prompt, choices
    bulk: bool = False  # computed with what others leave


@dataclass(frozen=True)
class GenerateCall:
    model: ModelRef
    context: ContextRef | None
    prompts: list[Prompt]
    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: list[str] = field(default_factory=list)
    logprobs: bool = False  # of what is written, before temperature and top_p
    top_logprobs: int = 0  # the likeliest tokens at each place
    prompt_logprobs: bool = False  # of the prompts' own tokens
    json_schema: str = ""
    bulk: bool = False


@dataclass(frozen=True)
class CountCall:
    model: ModelRef
    texts: list[str]


@dataclass(frozen=True)
class PrefillCall:
    model: ModelRef
    context: ContextRef


@dataclass(frozen=True)
class ForgetCall:
    """A text whose keys and values, of any model, are wanted no longer."""

    context: ContextRef


@dataclass
class Spent:
    """Grows while a call is computed. Prompt tokens include cached ones."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    flops: float = 0.0
    compute_s: float = 0.0


@dataclass(frozen=True)
class Scored:
    """Per item and choice: sum of log-probabilities in nats, and the number of tokens."""

    items: list[list[tuple[float, int]]]
    spent: Spent


@dataclass(frozen=True)
class TopToken:
    """A token that could have stood there."""

    id: int
    text: bytes
    logprob: float


@dataclass(frozen=True)
class Token:
    """A token, its bytes, and the log-probability that it had (None: nothing stood before it)."""

    id: int
    text: bytes
    logprob: float | None
    top: list[TopToken] = field(default_factory=list)


@dataclass(frozen=True)
class Continuation:
    """`finished`: an end-of-text or stop string was met, else the length was. Prompt tokens include cached ones and context."""

    text: str
    token_count: int
    finished: bool
    prompt_count: int = 0
    cached_count: int = 0
    tokens: list[Token] = field(default_factory=list)
    prompt_tokens: list[Token] = field(default_factory=list)


@dataclass(frozen=True)
class Generated:
    """One continuation for each prompt."""

    continuations: list[Continuation]
    spent: Spent

    @property
    def texts(self) -> list[str]:
        return [one.text for one in self.continuations]

    @property
    def token_counts(self) -> list[int]:
        return [one.token_count for one in self.continuations]

    @property
    def finished(self) -> list[bool]:
        return [one.finished for one in self.continuations]


@dataclass(frozen=True)
class Piece:
    """Of a stream; the last has `spent`."""

    text: str
    finished: bool = False
    spent: Spent | None = None
    tokens: list[Token] = field(default_factory=list)


@dataclass(frozen=True)
class Prefilled:
    """A context that was read: its tokens, the bytes of its keys and values (0: none are kept), and what reading took."""

    token_count: int
    cache_bytes: int
    spent: Spent


@dataclass(frozen=True)
class Facts:
    """What an engine says of itself. `device` is `cpu` or the GPU's name, `dtype` the format that it computes in."""

    device: str
    dtype: str
    versions: dict[str, str]  # of libraries by name
    held: "Held | None" = None


@dataclass(frozen=True)
class Held:
    """What a replica holds and does at a moment; see the proto's Replica."""

    held_context_count: int = 0
    held_context_bytes: int = 0
    cache_bytes_limit: int = 0
    spilled_context_count: int = 0
    spilled_context_bytes: int = 0
    pinned_context_bytes: int = 0
    models: tuple[str, ...] = ()
    model_bytes: int = 0
    running_count: int = 0
    waiting_count: int = 0


@dataclass(frozen=True)
class Running:
    """Engines as a backend runs them, alike in their facts."""

    backend: str
    replica_count: int
    facts: Facts


@dataclass(frozen=True)
class Refused:
    """A domain error on its way from the engine to the door."""

    reason: str
    message: str
    field: str
    metadata: dict[str, str]
    kind: str  # class name in servicekit.errors
    retry_after_s: float = 0.0


def refused(error: errors.DomainError) -> Refused:
    """What the other side raises again by `raise_refused`."""
    return Refused(
        error.reason,
        error.message,
        getattr(error, "field", ""),
        error.metadata,
        type(error).__name__,
        getattr(error, "retry_after_s", 0.0),
    )


def raise_refused(answer: Refused) -> None:
    """The domain error that the engine meant."""
    kind: type[errors.DomainError] = getattr(errors, answer.kind, errors.DomainError)
    if issubclass(kind, errors.Invalid):
        raise kind(answer.reason, answer.message, field=answer.field, **answer.metadata)
    if issubclass(kind, errors.Exhausted):
        raise kind(answer.reason, answer.message, answer.retry_after_s, **answer.metadata)
    raise kind(answer.reason, answer.message, **answer.metadata)


def home_of(argument: Any) -> str:
    """What a call reads, by its content: the model's bytes and the context's. Empty where any replica is as good."""
    model, context = getattr(argument, "model", None), getattr(argument, "context", None)
    if model is None:
        return ""
    return f"{model.key}/{context.sha256}" if context else str(model.key)
