"""The fake's inference: answers by shared words."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from ingrain.testing import words
from ingrain.testing.library import Library
from ingrain.testing.store import Refused, Work
from ingrain.v1 import common_pb2, inference_pb2, inference_pb2_grpc

_STOP, _LENGTH = inference_pb2.Generation.STOP, inference_pb2.Generation.LENGTH
_MOST_TOKENS = 64  # where a call does not say
_MOST_PROMPT_BYTES = 1 << 20


class Inference(inference_pb2_grpc.InferenceServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def Generate(self, request: Any, context: Any) -> inference_pb2.GenerateResponse:
        prompts = _prompts_of(request)
        known = self.library.asked(request)
        _refuse_schema(request.json_schema)
        response = inference_pb2.GenerateResponse(model=known.model)
        for prompt in prompts:
            text, finished = _cut(words.answer(prompt, known.texts), request.max_tokens or _MOST_TOKENS)
            made = response.generations.add(text=text, finish_reason=_STOP if finished else _LENGTH)
            made.token_count = words.token_count(text)
            made.prompt_token_count = words.token_count(prompt)
            response.usage.generated_token_count += made.token_count
        response.usage.MergeFrom(_usage(sum(one.prompt_token_count for one in response.generations)))
        return response

    def StreamGenerate(self, request: Any, context: Any) -> Iterator[inference_pb2.StreamGenerateResponse]:
        if len(request.prompts) + len(request.inputs) != 1:
            raise Refused("INVALID_ARGUMENT", "ONE_PROMPT", "a stream continues one prompt", "prompts")
        answered = self.Generate(request, context)
        (generation,) = answered.generations
        for word in generation.text.split():
            yield inference_pb2.StreamGenerateResponse(text=f"{word} ", model=answered.model)
        yield inference_pb2.StreamGenerateResponse(
            finish_reason=generation.finish_reason, usage=answered.usage, model=answered.model
        )

    def Score(self, request: Any, context: Any) -> inference_pb2.ScoreResponse:
        for number, item in enumerate(request.items):
            if "" in item.choices:
                where = f"items[{number}].choices[{list(item.choices).index('')}]"
                raise Refused("INVALID_ARGUMENT", "EMPTY_CHOICE", f"{where} is empty", where)
        known = self.library.asked(request)
        response = inference_pb2.ScoreResponse(model=known.model)
        for item in request.items:
            scores = response.items.add()
            for choice in item.choices:
                total, count = words.score(item.prompt, choice, known.texts)
                scores.choices.add(sum_logprob=total, mean_logprob=total / count, token_count=count)
        response.usage.CopyFrom(_usage(sum(words.token_count(item.prompt) for item in request.items)))
        return response

    def CountTokens(self, request: Any, context: Any) -> inference_pb2.CountTokensResponse:
        model = self.store.active(self.library.meaning(request.model, request.parent).model)
        count = words.narrow_token_count if model.domain else words.token_count
        return inference_pb2.CountTokensResponse(token_counts=[count(text) for text in request.texts])

    def GetEngine(self, request: Any, context: Any) -> inference_pb2.Engine:
        where = common_pb2.Environment(backend="fake, by shared words", device="cpu", process_count=1)
        return inference_pb2.Engine(environment=where, replica=inference_pb2.Replica())

    def CreateContext(self, request: Any, context: Any) -> operations_pb2.Operation:
        dataset = self.library.documents(request.context.dataset, "context.dataset")
        self.store.active(request.context.model)
        texts = self.library.texts(dataset.name)
        if request.validate_only:
            name = self.store.name_of(request.parent, "contexts", request.context_id)
            return self.store.estimate(name, "CreateContext", common_pb2.Estimate(row_count=len(texts)))

        def make() -> operations_pb2.Operation:
            held = inference_pb2.Context(token_count=sum(map(words.token_count, texts)), row_count=len(texts))
            held.MergeFrom(request.context)
            held.name = self.store.new_name(request.parent, "contexts", request.context_id)
            held.sha256 = hashlib.sha256("\n".join(texts).encode()).hexdigest()
            return self.store.start(held, Work("CreateContext", {"reading": 1}, lambda: None))

        return self.store.once(request, make)

    def GetContext(self, request: Any, context: Any) -> inference_pb2.Context:
        return self.store.get(request.name)

    def ListContexts(self, request: Any, context: Any) -> inference_pb2.ListContextsResponse:
        found, token = self.store.page(request.parent, "contexts", request)
        return inference_pb2.ListContextsResponse(contexts=found, next_page_token=token)

    def DeleteContext(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()


def _prompts_of(request: inference_pb2.GenerateRequest) -> list[str]:
    if bool(request.prompts) == bool(request.inputs):
        message = "send at least one prompt, in `prompts` or in `inputs` and not in both"
        raise Refused("INVALID_ARGUMENT", "PROMPTS_OR_INPUTS", message, "prompts")
    prompts = {f"prompts[{n}]": prompt for n, prompt in enumerate(request.prompts)}
    for number, given in enumerate(request.inputs):
        where = f"inputs[{number}].text" if given.HasField("text") else f"inputs[{number}]"
        prompts[where] = _text_of(given)
    for where, prompt in prompts.items():
        if len(prompt.encode()) > _MOST_PROMPT_BYTES:
            raise Refused("INVALID_ARGUMENT", "PROMPT_TOO_BIG", f"{where} has over 1 MiB", where)
        if not prompt:
            raise Refused("INVALID_ARGUMENT", "EMPTY_PROMPT", f"{where} is empty", where)
    return list(prompts.values())


def _text_of(given: inference_pb2.Input) -> str:
    """What is asked last; token ids say nothing to a model of words."""
    if given.HasField("token_ids"):
        return " ".join(map(str, given.token_ids.ids))
    return given.text or next((m.content for m in reversed(given.chat.messages) if m.content), "")


def _refuse_schema(schema: str) -> None:
    try:
        if schema and not isinstance(json.loads(schema), (dict, bool)):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        message = f"the JSON schema cannot be read: {error}"
        raise Refused("INVALID_ARGUMENT", "BAD_SCHEMA", message, "json_schema") from None


def _cut(text: str, most_tokens: int) -> tuple[str, bool]:
    """At most so many tokens of it, and whether that is all."""
    ends = [found.end() for found in words.WORD.finditer(text)]
    return (text, True) if len(ends) <= most_tokens else (text[: ends[most_tokens - 1]], False)


def _usage(prompt_token_count: int) -> inference_pb2.Usage:
    return inference_pb2.Usage(prompt_token_count=prompt_token_count, flops=1.0, compute_seconds=1e-6)
