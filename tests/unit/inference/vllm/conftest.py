"""vLLM as its published interface says it is: fields and parameters of 0.29.0 (vllm_0_29_0.json), and an AsyncLLM that keeps to
them, with a real model, a prefix cache in blocks and its rule of when that is not read."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.inference.vllm_engine.replica import VllmEngine

FACTS = json.loads(Path(__file__).with_name("vllm_0_29_0.json").read_text())
BLOCK = FACTS["values"]["block_size"]
DEFAULTS = {"n": 1, "temperature": 1.0, "top_p": 1.0, "max_tokens": 16, "stop": (), "detokenize": True}


class ValidationError(Exception):
    pass


class EngineDead(Exception):
    pass


def struct(name: str, defaults: Mapping[str, Any] = {}) -> type:
    """A class that takes the fields of vLLM's class and no others."""
    known = FACTS["fields"][name]

    def __init__(self: Any, **given: Any) -> None:
        unknown = set(given) - set(known)
        if unknown:
            raise TypeError(f"{name} has no {sorted(unknown)}")
        for field in known:
            setattr(self, field, given.get(field, defaults.get(field)))

    return type(name.rpartition(".")[2], (), {"__init__": __init__})


Params = struct("vllm.SamplingParams", DEFAULTS)
Logprob = struct("vllm.logprobs.Logprob")
Completion = struct("vllm.outputs.CompletionOutput")
Structured = struct("vllm.sampling_params.StructuredOutputsParams")
LoRA = struct("vllm.lora.request.LoRARequest")


class SamplingParams(Params):  # type: ignore[misc, valid-type]
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        if self.skip_reading_prefix_cache is None:
            self.skip_reading_prefix_cache = self.prompt_logprobs is not None
        most = FACTS["values"]["vllm.sampling_params.MAX_LOGPROB_TOKEN_IDS"]
        if self.logprob_token_ids is not None and not 0 < len(self.logprob_token_ids) <= most:
            raise ValidationError("logprob_token_ids")
        if not 0 < self.top_p <= 1 or self.max_tokens < 1:
            raise ValidationError("top_p or max_tokens")


def tokens_prompt(**given: Any) -> dict[str, Any]:
    assert set(given) <= set(FACTS["fields"]["vllm.inputs.TokensPrompt"])
    return given


class RequestOutput:
    def __init__(self, **given: Any) -> None:
        assert set(given) <= set(FACTS["parameters"]["vllm.outputs.RequestOutput.__init__"]["positional"])
        self.__dict__.update(given)


class AsyncLLM:
    """`computed`: prompt tokens that went through the model, of all requests. `models`: by adapter's folder, '' the base."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.models: dict[str, Any] = {"": AutoModelForCausalLM.from_pretrained(folder)}
        self._folder = folder
        self._cache: set[tuple[int, tuple[int, ...]]] = set()
        self.computed = 0
        self.requests: list[Any] = []
        self.loras: list[Any] = []
        self.priorities: list[int] = []
        self.aborted = 0
        self.at_work = 0
        self.pause = asyncio.Event()
        self.pause.set()

    def get_num_unfinished_requests(self) -> int:
        return self.at_work

    async def generate(
        self,
        prompt: Any,
        sampling_params: Any,
        request_id: str,
        *,
        prompt_text: str | None = None,
        lora_request: Any = None,
        tokenization_kwargs: Any = None,
        trace_headers: Any = None,
        priority: int = 0,
        data_parallel_rank: int | None = None,
        session_id: str | None = None,
        reasoning_ended: bool | None = None,
        reasoning_parser_kwargs: Any = None,
    ) -> AsyncIterator[Any]:
        params, ids = sampling_params, list(prompt["prompt_token_ids"])
        if params.structured_outputs and params.structured_outputs.json.get("type") == "nonsense":
            raise ValidationError("the schema is none")
        self.requests.append(params)
        self.loras.append(lora_request)
        self.priorities.append(priority)
        self.at_work += 1
        ended = False
        try:
            async for output in self._outputs(params, ids, request_id, lora_request):
                await self.pause.wait()
                yield output
            ended = True
        finally:
            self.at_work -= 1
            self.aborted += not ended

    async def _outputs(self, params: Any, ids: list[int], request_id: str, lora: Any) -> AsyncIterator[Any]:
        cached = self._read(ids, lora, params)
        await asyncio.sleep(0)
        model, written, places, text = self._model(lora), [], [], ""
        stream = torch.Generator().manual_seed(params.seed % (1 << 63)) if params.seed is not None else None
        about = self._prompt_logprobs(model, ids, cached, params)
        shown = 0
        while True:
            logprobs_V = self._logprobs(model, [*ids, *written])[-1]
            token = self._pick(logprobs_V, params, stream)
            written.append(token)
            places.append(self._place(logprobs_V, token, params))
            ends = token == self.tokenizer.eos_token_id
            if params.detokenize:
                # A character that is not complete is held back, also at the end.
                text = self.tokenizer.decode(written, skip_special_tokens=True).rstrip("\ufffd")
            stopped = [text.index(stop) for stop in params.stop if stop in text]
            if stopped:
                text = text[: min(stopped)]
            done = ends or bool(stopped)
            finished = done or len(written) == params.max_tokens
            in_pieces = params.output_kind == "DELTA"
            if not finished and not in_pieces:
                continue
            one = Completion(
                index=0,
                text=text[shown:] if in_pieces else text,
                token_ids=written[-1:] if in_pieces else list(written),
                logprobs=(places[-1:] if in_pieces else places) if self._described(params) else None,
                finish_reason=("stop" if done else "length") if finished else None,
            )
            shown = len(text)
            yield RequestOutput(
                request_id=request_id,
                prompt=None,
                prompt_token_ids=ids,
                prompt_logprobs=about,
                outputs=[one],
                finished=finished,
                num_cached_tokens=cached,
            )
            if finished:
                return
            await asyncio.sleep(0)

    def _read(self, ids: list[int], lora: Any, params: Any) -> int:
        """Whole blocks that are there, but never the last token; all of the prompt's blocks are there afterwards."""
        salt = lora.lora_int_id if lora else 0
        cached = 0
        while (
            not params.skip_reading_prefix_cache
            and cached + BLOCK <= len(ids) - 1
            and (salt, tuple(ids[: cached + BLOCK])) in self._cache
        ):
            cached += BLOCK
        self._cache.update((salt, tuple(ids[:end])) for end in range(BLOCK, len(ids) + 1, BLOCK))
        self.computed += len(ids) - cached
        return cached

    def _model(self, lora: Any) -> Any:
        if lora is None:
            return self.models[""]
        if lora.lora_path not in self.models:
            from peft import PeftModel

            base = AutoModelForCausalLM.from_pretrained(self._folder)
            self.models[lora.lora_path] = PeftModel.from_pretrained(base, lora.lora_path)
        return self.models[lora.lora_path]

    @torch.inference_mode()
    def _logprobs(self, model: Any, ids: list[int]) -> torch.Tensor:
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)

    def _pick(self, logprobs_V: torch.Tensor, params: Any, stream: Any) -> int:
        if params.temperature == 0:
            return int(logprobs_V.argmax())
        return int(torch.multinomial((logprobs_V / params.temperature).softmax(-1), 1, generator=stream))

    def _described(self, params: Any) -> bool:
        return params.logprobs is not None or params.logprob_token_ids is not None

    def _place(self, logprobs_V: torch.Tensor, token: int, params: Any) -> dict[int, Any]:
        others = params.logprob_token_ids or []
        if params.logprob_token_ids is None:
            others = logprobs_V.topk(params.logprobs or 0).indices.tolist()
        return {other: Logprob(logprob=float(logprobs_V[other])) for other in [token, *others]}

    def _prompt_logprobs(self, model: Any, ids: list[int], cached: int, params: Any) -> Any:
        """Of tokens behind what was cached only: positions that were not computed have none."""
        if params.prompt_logprobs is None:
            return None
        logprobs_TV = self._logprobs(model, ids)
        described = SimpleNamespace(logprob_token_ids=None, logprobs=params.prompt_logprobs)
        return [None] + [
            self._place(logprobs_TV[at - 1], ids[at], described) for at in range(cached + 1, len(ids))
        ]


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        "vllm": {"SamplingParams": SamplingParams, "TokensPrompt": tokens_prompt},
        "vllm.sampling_params": {
            "StructuredOutputsParams": Structured,
            "RequestOutputKind": SimpleNamespace(
                **{kind: kind for kind in FACTS["values"]["vllm.sampling_params.RequestOutputKind"]}
            ),
        },
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRA},
        "vllm.exceptions": {"VLLMValidationError": ValidationError},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.exceptions": {"EngineDeadError": EngineDead},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def facts() -> dict[str, Any]:
    return FACTS


@pytest.fixture
def async_llm() -> type:
    return AsyncLLM


@pytest.fixture
def second_engine(stored: Callable[[str], Any]) -> Callable[[str], tuple[VllmEngine, AsyncLLM]]:
    """The engine over a base model by its architecture's name, and the model behind it."""

    def make(name: str) -> tuple[VllmEngine, AsyncLLM]:
        tiny = stored(name)
        settings = tiny.settings.model_copy(update={"engine": "vllm", "vllm_model": tiny.ref.uri})
        llm = AsyncLLM(tiny.folder)
        return VllmEngine(settings, llm, ("some GPU", "bfloat16", {"vllm": "0.29.0"})), llm

    return make
