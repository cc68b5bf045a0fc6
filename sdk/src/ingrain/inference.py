"""Asking models, and contexts that are read once."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ingrain.names import full_name, project_name, short_id
from ingrain.operation import AsyncOperation
from ingrain.resource import Resource, message_from, pages
from ingrain.v1 import common_pb2
from ingrain.v1 import inference_pb2 as pb

if TYPE_CHECKING:
    from ingrain.client import Stubs

QUESTION = "Question: {question}\nAnswer:"


class InferenceMethods:
    """Mixed into AsyncClient. `model` is an id, a name, `icl:<dataset>@<model>`, `rag:<dataset>@<model>`,
    `auto:<study>` or an alias like `support-bot@prod` (one without @ by its full name)."""

    parent: str
    stubs: "Stubs"

    async def generate(
        self, model: str, prompts: str | Sequence[str] = (), context: str = "", **options: Any
    ) -> pb.GenerateResponse:
        """Continues prompts. Options: max_tokens, temperature, top_p, seed, stop, logprobs, top_logprobs,
        prompt_logprobs, json_schema (text or dict), priority (`bulk`: with what others leave).

        Instead of `prompts`: `messages`, a conversation of `{"role", "content"}`; or `inputs`, a list of such, of lists
        of token ids, and of texts that are read as they are.
        """
        return await self.stubs.inference.Generate(self._generate_request(model, prompts, context, options))

    def stream(
        self, model: str, prompt: str = "", context: str = "", **options: Any
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        """Continues a prompt (or `messages`, or one of `inputs`), text as it comes; the last message has finish reason
        and usage. Options as of `generate`."""
        return self.stubs.inference.StreamGenerate(self._generate_request(model, prompt, context, options))

    async def score(
        self, model: str, items: Iterable[tuple[str, Sequence[str]]], context: str = "", priority: str = ""
    ) -> pb.ScoreResponse:
        """Log-likelihoods of choices. Items: `(prompt, choices)`. `priority`: `bulk` goes behind interactive requests."""
        request = message_from(
            pb.ScoreRequest,
            parent=self.parent,
            model=self.model_name(model),
            context=self._context_name(context),
            items=[pb.ScoreItem(prompt=prompt, choices=choices) for prompt, choices in items],
            priority=priority or None,
        )
        return await self.stubs.inference.Score(request)

    async def count_tokens(self, model: str, texts: str | Sequence[str]) -> list[int]:
        request = pb.CountTokensRequest(
            parent=self.parent,
            model=self.model_name(model),
            texts=[texts] if isinstance(texts, str) else texts,
        )
        return list((await self.stubs.inference.CountTokens(request)).token_counts)

    async def ask(
        self,
        model_or_study: str,
        question: str,
        *,
        dataset: str = "",
        context: str = "",
        max_tokens: int = 128,
    ) -> str:
        """The answer to a question. Of a study (`studies/s` or its full name) the winner answers; with `dataset`
        the model answers with these documents in its context, with `context` with one made before."""
        model = model_or_study
        if dataset:
            model = f"icl:{short_id(dataset)}@{short_id(model)}"
        answer = await self.generate(
            model, QUESTION.format(question=question), context, max_tokens=max_tokens, stop=["\n"]
        )
        return answer.generations[0].text.strip()

    def model_name(self, model: str) -> str:
        """The name by which inference knows it."""
        project, _, rest = model.removeprefix("projects/").partition("/")
        study = rest if model.startswith("projects/") else model
        if study.startswith("studies/"):
            if model.startswith("projects/") and project_name(project) != self.parent:
                return model
            return f"auto:{study.removeprefix('studies/')}"
        virtual = ":" in model or "@" in model or rest.startswith("aliases/")
        return model if virtual else full_name(self.parent, "models", model)

    def _generate_request(
        self, model: str, prompts: str | Sequence[str], context: str, options: dict[str, Any]
    ) -> pb.GenerateRequest:
        messages = options.pop("messages", None)
        inputs = [*options.pop("inputs", ()), *([messages] if messages else [])]
        if isinstance(options.get("json_schema"), Mapping):
            options["json_schema"] = json.dumps(options["json_schema"])
        if isinstance(prompts, str):
            prompts = [prompts] if prompts or not inputs else []
        return message_from(
            pb.GenerateRequest,
            parent=self.parent,
            model=self.model_name(model),
            prompts=list(prompts),
            inputs=[input_of(given) for given in inputs],
            context=self._context_name(context),
            **options,
        )

    def _context_name(self, context: str) -> str:
        return context and full_name(self.parent, "contexts", context)


def input_of(given: str | Sequence[int] | Sequence[Mapping[str, str]] | pb.Input) -> pb.Input:
    """A text as it is, token ids, or a conversation."""
    if isinstance(given, pb.Input):
        return given
    if isinstance(given, str):
        return pb.Input(text=given)
    if given and all(isinstance(one, Mapping) for one in given):
        messages = [message_from(pb.ChatMessage, **one) for one in given]  # type: ignore[arg-type]
        return pb.Input(chat=pb.Chat(messages=messages))
    return pb.Input(token_ids=message_from(pb.TokenIds, ids=list(given)))


class AsyncContexts(Resource):
    """`client.contexts`: documents that a model has read once, for all questions."""

    collection = "contexts"

    async def create(
        self,
        model: str,
        dataset: str,
        id: str | None = None,
        selection: common_pb2.RowSelection | None = None,
        *,
        pinned: bool = False,
        ttl_s: float = 0.0,
        validate_only: bool = False,
    ) -> AsyncOperation:
        """`pinned` keeps its keys and values in one replica's memory; `ttl_s` after its last use it is deleted."""
        request = pb.CreateContextRequest(
            parent=self._client.parent,
            context_id=id or "",
            context=pb.Context(
                model=full_name(self._client.parent, "models", model),
                dataset=full_name(self._client.parent, "datasets", dataset),
                selection=selection,
                pinned=pinned,
            ),
            validate_only=validate_only,
        )
        if ttl_s:
            request.context.ttl.FromNanoseconds(int(ttl_s * 1e9))
        return AsyncOperation(self._client, await self._client.stubs.inference.CreateContext(request))

    async def get(self, name: str) -> pb.Context:
        return await self._client.stubs.inference.GetContext(pb.GetContextRequest(name=self._name(name)))

    def list(self, page_size: int = 0) -> AsyncIterator[pb.Context]:
        """Newest first."""
        request = pb.ListContextsRequest(parent=self._client.parent, page_size=page_size)
        return pages(self._client.stubs.inference.ListContexts, request, "contexts")

    async def delete(self, name: str) -> None:
        await self._client.stubs.inference.DeleteContext(pb.DeleteContextRequest(name=self._name(name)))
