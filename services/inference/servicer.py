"""The Inference service: the door. No torch, no Ray."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from google.protobuf import empty_pb2

from ingrain.v1 import common_pb2, inference_pb2_grpc
from ingrain.v1 import inference_pb2 as pb
from servicekit import identity
from servicekit.costs import forward_flops
from servicekit.errors import Invalid
from services.inference import messages
from services.inference.backend import Backend
from services.inference.contexts import Contexts, new_context
from services.inference.names import Names
from services.inference.retrieval import Index
from services.inference.wire import (
    ContextRef,
    CountCall,
    GenerateCall,
    ModelRef,
    Refused,
    ScoreCall,
    raise_refused,
)

DEFAULT_MAX_TOKENS = 64
FRAME_TOKENS = 64  # what marks of beginnings and a chat's frame may take
GREATEST_RESPONSE_BYTES = (4 << 20) - 1024  # gRPC's default, less what the frame takes


class InferenceServicer(inference_pb2_grpc.InferenceServicer):
    def __init__(self, names: Names, contexts: Contexts, backend: Backend) -> None:
        self._names = names
        self._contexts = contexts
        self._backend = backend

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        call = await self._generate_call(request)
        answer = await self._ask("generate", call)
        generations = [messages.generation(one) for one in answer.continuations]
        response = pb.GenerateResponse(
            generations=generations, usage=messages.usage("generate", answer.spent), model=call.model.name
        )
        if response.ByteSize() > GREATEST_RESPONSE_BYTES:
            raise Invalid(
                "RESPONSE_TOO_BIG",
                f"{len(generations)} texts have {response.ByteSize()} bytes, and a message takes "
                f"{GREATEST_RESPONSE_BYTES}; send fewer prompts at once, or lower max_tokens",
                field="prompts",
                size_bytes=response.ByteSize(),
            )
        return response

    async def StreamGenerate(
        self, request: pb.GenerateRequest, context: Any
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        if len(request.prompts) + len(request.inputs) != 1:
            raise Invalid("ONE_PROMPT", "a stream continues one prompt", field="prompts")
        if request.prompt_logprobs:
            raise Invalid(
                "NOT_IN_A_STREAM", "a prompt's own tokens come with Generate", field="prompt_logprobs"
            )
        call = await self._generate_call(request)
        async with aclosing(self._backend.stream(call)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Refused):
                    raise_refused(piece)
                response = pb.StreamGenerateResponse(
                    text=piece.text, tokens=map(messages.token, piece.tokens), model=call.model.name
                )
                if piece.spent is not None:
                    response.finish_reason = pb.Generation.STOP if piece.finished else pb.Generation.LENGTH
                    response.usage.CopyFrom(messages.usage("generate", piece.spent))
                yield response

    async def Score(self, request: pb.ScoreRequest, context: Any) -> pb.ScoreResponse:
        for index, item in enumerate(request.items):
            if "" in item.choices:
                where = f"items[{index}].choices[{list(item.choices).index('')}]"
                raise Invalid("EMPTY_CHOICE", f"{where} is empty; a choice needs text", field=where)
        model, documents = await self._resolve(request.parent, request.model, request.context)
        items = [(item.prompt, list(item.choices)) for item in request.items]
        if isinstance(documents, Index):
            longest = [max(choices, key=len) for _, choices in items]
            prompts = await self._found(documents, model, [prompt for prompt, _ in items], longest)
            items = [(prompt, choices) for prompt, (_, choices) in zip(prompts, items, strict=True)]
            documents = None
        answer = await self._ask("score", ScoreCall(model, documents, items, messages.is_bulk(request)))
        response = pb.ScoreResponse(usage=messages.usage("score", answer.spent), model=model.name)
        for scores in answer.items:
            response.items.add().choices.extend(
                pb.ChoiceScore(sum_logprob=total, mean_logprob=total / count, token_count=count)
                for total, count in scores
            )
        return response

    async def CountTokens(self, request: pb.CountTokensRequest, context: Any) -> pb.CountTokensResponse:
        meaning = await self._names.meaning(request.parent, request.model)
        model = await self._names.ref(meaning.model)
        return pb.CountTokensResponse(
            token_counts=await self._ask("count", CountCall(model, list(request.texts)))
        )

    async def CreateContext(self, request: pb.CreateContextRequest, context: Any) -> Any:
        project = identity.authorize(request.parent)
        wanted = new_context(request)
        if request.validate_only:
            return await self._estimate(project, request, wanted)
        await self._contexts.check(request.context)
        return await self._contexts.operations.start(
            "CreateContext", request, wanted, request_id=request.request_id
        )

    async def GetContext(self, request: pb.GetContextRequest, context: Any) -> pb.Context:
        identity.authorize(request.name)
        (found,) = await self._contexts.with_expiry([await self._contexts.resources.get(request.name)])
        return shown(found)

    async def ListContexts(self, request: pb.ListContextsRequest, context: Any) -> pb.ListContextsResponse:
        identity.authorize(request.parent)
        found, token = await self._contexts.resources.list(
            request.parent, request.page_size, request.page_token
        )
        found = await self._contexts.with_expiry(found)
        return pb.ListContextsResponse(contexts=map(shown, found), next_page_token=token)

    async def DeleteContext(self, request: pb.DeleteContextRequest, context: Any) -> empty_pb2.Empty:
        identity.authorize(request.name)
        await self._contexts.delete(request.name)
        return empty_pb2.Empty()

    async def GetEngine(self, request: pb.GetEngineRequest, context: Any) -> pb.Engine:
        running = await self._backend.running()
        environment = common_pb2.Environment(
            backend=running.backend,
            device=running.facts.device,
            process_count=running.replica_count,
            dtype=running.facts.dtype,
            versions=running.facts.versions,
        )
        return pb.Engine(environment=environment, replica=messages.replica(running.facts.held))

    async def _generate_call(self, request: pb.GenerateRequest) -> GenerateCall:
        prompts = messages.prompts_of(request)
        model, documents = await self._resolve(request.parent, request.model, request.context)
        max_tokens = request.max_tokens or (0 if request.prompt_logprobs else DEFAULT_MAX_TOKENS)
        if isinstance(documents, Index):
            asked = [messages.question_of(prompt, n) for n, prompt in enumerate(prompts)]
            found = await self._found(documents, model, asked, [""] * len(asked), max_tokens)
            prompts = [messages.with_question(*both) for both in zip(prompts, found, strict=True)]
            documents = None
        if request.prompt_logprobs and documents is not None:
            raise Invalid(
                "PROMPT_LOGPROBS_WITH_CONTEXT",
                "a prompt's own log-probabilities are given without context; score choices instead",
                field="prompt_logprobs",
            )
        return GenerateCall(
            model,
            documents,
            prompts,
            max_tokens=max_tokens,
            temperature=request.temperature,
            top_p=request.top_p or 1.0,
            seed=request.seed,
            stop=[stop for stop in request.stop if stop],
            logprobs=request.logprobs,
            top_logprobs=request.top_logprobs,
            prompt_logprobs=request.prompt_logprobs,
            json_schema=messages.schema_of(request),
            bulk=messages.is_bulk(request),
        )

    async def _found(
        self, index: Index, model: ModelRef, prompts: list[str], answers: list[str], max_tokens: int = 0
    ) -> list[str]:
        """The prompts with what is found for each in front, as a context's documents stand there; as much as has room
        beside the prompt and its longest answer."""
        read = [f"{prompt} {answer}" for prompt, answer in zip(prompts, answers, strict=True)]
        room = model.context_window - max_tokens - FRAME_TOKENS
        # A token has at least a byte: mostly it is plain that all fits.
        need = [index.token_count(p) + len(r.encode()) for p, r in zip(prompts, read, strict=True)]
        rooms: list[int | None] = [None] * len(prompts)
        if model.context_window and max(need) > room:
            counts = await self._ask("count", CountCall(model, read))
            rooms = [max(0, room - count) for count in counts]
        found = [index.documents(p, left) for p, left in zip(prompts, rooms, strict=True)]
        return [
            f"{text}\n\n{prompt}" if text else prompt for text, prompt in zip(found, prompts, strict=True)
        ]

    async def _resolve(
        self, parent: str, name: str, context: str
    ) -> tuple[ModelRef, ContextRef | Index | None]:
        meaning = await self._names.meaning(parent, name)
        if meaning.dataset and context:
            raise Invalid(
                "TWO_CONTEXTS", f"{name} brings a context of its own; leave `context` empty", field="context"
            )
        model = await self._names.ref(meaning.model)
        if meaning.dataset:
            home = identity.authorize(name if name.startswith("projects/") else parent)
            context = await self._contexts.of_dataset(home, meaning)
        return model, await self._contexts.reading(context, model) if context else None

    async def _ask(self, method: str, call: Any) -> Any:
        answer = await self._backend.call(method, call)
        if isinstance(answer, Refused):
            raise_refused(answer)
        return answer

    async def _estimate(self, project: str, request: pb.CreateContextRequest, wanted: pb.Context) -> Any:
        texts = await self._contexts.texts(project, request.context)
        model = await self._names.ref(request.context.model)
        if request.context.HasField("retrieval"):
            estimate = common_pb2.Estimate(
                row_count=len(texts),
                notes=["documents are indexed; each question reads what is found for it"],
            )
            return self._contexts.operations.done_with_estimate(wanted.name, "CreateContext", estimate)
        text, row_count = "\n".join(texts), len(texts)
        (token_count,) = await self._ask("count", CountCall(model, [text]))
        if token_count >= model.context_window:
            raise Invalid(
                "CONTEXT_TOO_LONG",
                f"the documents have {token_count} tokens and {model.name} can take {model.context_window}",
                field="context",
                token_count=token_count,
                context_window=model.context_window,
            )
        flops = forward_flops(model.parameter_count, model.layer_count, model.hidden_size, token_count)
        estimate = common_pb2.Estimate(
            cost=common_pb2.Cost(prompt_token_count=token_count, flops=flops), row_count=row_count
        )
        return self._contexts.operations.done_with_estimate(wanted.name, "CreateContext", estimate)


def shown(context: pb.Context) -> pb.Context:
    """As the caller may see it: where the text lies is for services."""
    if not identity.is_service():
        context.uri = ""
    return context
