"""contexts/ as resources: documents are selected and rendered once, and read once by the engine.

The truth of a context is its text in object storage; keys and values are a replica's cache and can be lost.
"""

import asyncio
import hashlib
import json
import uuid
from collections import OrderedDict

from google.longrunning import operations_pb2
from google.rpc import code_pb2

from ingrain.errors import OperationFailed, from_status
from ingrain.v1 import common_pb2, datasets_pb2
from ingrain.v1 import inference_pb2 as pb
from servicekit import identity, metrics
from servicekit.errors import Invalid, NotFound, Unavailable, WrongState
from servicekit.operations import Operations
from servicekit.peers import gateway_client
from servicekit.resources import Resources, new_id
from servicekit.selection import select_rows
from servicekit.storage import Storage
from servicekit.worker import Task
from services.inference import retrieval
from services.inference.backend import Backend
from services.inference.leases import Leases
from services.inference.names import Meaning, Names
from services.inference.retrieval import Index
from services.inference.settings import InferenceSettings
from services.inference.wire import (
    ContextRef,
    CountCall,
    ForgetCall,
    ModelRef,
    PrefillCall,
    Refused,
    Spent,
    raise_refused,
)

REMEMBERED = 64  # texts of contexts in the door's memory
COUNTED = 512  # pieces of documents whose tokens are counted at once
WAIT_S = 600.0
LEAST_TTL_S = 1.0
# What ended a virtual name's context and may go well another time.
PASSING = {code_pb2.UNAVAILABLE, code_pb2.CANCELLED, code_pb2.RESOURCE_EXHAUSTED, code_pb2.INTERNAL}
MOST_TRIES = 8


class Contexts:
    def __init__(
        self,
        settings: InferenceSettings,
        storage: Storage,
        rows: Resources[pb.Context],
        operations: Operations,
        names: Names,
        backend: Backend,
    ) -> None:
        self._settings = settings
        self._storage = storage
        self.leases = Leases(rows.database)
        self.resources = rows
        self.operations = operations
        self._names = names
        self._backend = backend
        self._texts: OrderedDict[str, ContextRef] = OrderedDict()
        self._indices: OrderedDict[str, Index] = OrderedDict()

    async def create(self, task: Task, request: pb.CreateContextRequest) -> pb.Context:
        given = request.context
        await task.progress("reading documents")
        texts = await self.texts(task.project, given)
        model = await self._names.ref(given.model)
        if given.HasField("ttl"):
            await self.leases.start(task.target, given.ttl.ToNanoseconds() / 1e9)
        if given.HasField("retrieval"):
            return await self._create_index(task, given, model, texts)
        text = "\n".join(texts)
        await task.progress("computing keys and values")
        reading = ContextRef(digest(text), text, given.pinned)
        answer = await self._backend.call("prefill", PrefillCall(model, reading))
        if isinstance(answer, Refused):
            raise_refused(answer)
        context = await self._store(task, "documents.txt", text.encode())
        context.token_count, context.row_count = answer.token_count, len(texts)
        context.cache_bytes = answer.cache_bytes
        context.sha256 = digest(f"{model.key} {text}")
        spent = answer.spent
        context.cost.CopyFrom(cost_of(spent))
        metrics.tokens("context", read=spent.prompt_tokens, cached=spent.cached_tokens, written=0)
        return context

    async def _create_index(
        self, task: Task, given: pb.Context, model: ModelRef, texts: list[str]
    ) -> pb.Context:
        found = retrieval.pieces_of(texts, given.retrieval)
        pieces = []
        for start in range(0, len(found), COUNTED):
            await task.progress("counting tokens", start, len(found), "pieces")
            part = found[start : start + COUNTED]
            counts = await self._backend.call("count", CountCall(model, part))
            if isinstance(counts, Refused):
                raise_refused(counts)
            pieces += [retrieval.Piece(*both) for both in zip(part, counts, strict=True)]
        content = retrieval.stored(pieces)
        context = await self._store(task, "pieces.jsonl", content)
        context.token_count, context.row_count = sum(piece.token_count for piece in pieces), len(texts)
        settings = given.retrieval.SerializeToString(deterministic=True).hex()
        context.sha256 = digest(f"{model.key} {settings} {digest(content.decode())}")
        return context

    async def _store(self, task: Task, name: str, content: bytes) -> pb.Context:
        """Writes the file and its manifest; the context that has them."""
        stored = await self._storage.put(f"{task.prefix}/{name}", content)
        files = [{"name": name, "size_bytes": stored.size_bytes, "sha256": stored.sha256}]
        await self._storage.put(f"{task.prefix}/manifest.json", json.dumps({"files": files}).encode())
        context = await self.resources.get(task.target)
        context.uri = stored.uri
        return context

    async def check(self, given: pb.Context) -> None:
        """Refuses at once what could never become a context."""
        if given.HasField("ttl") and given.ttl.ToNanoseconds() < LEAST_TTL_S * 1e9:
            raise Invalid("TTL_TOO_SHORT", f"ttl is less than {LEAST_TTL_S:g} s", field="context.ttl")
        await self._names.ref(given.model)
        dataset = await self._names.dataset(given.dataset)
        if dataset.kind != datasets_pb2.Dataset.DOCUMENTS:
            kind = datasets_pb2.Dataset.Kind.Name(dataset.kind)
            raise Invalid(
                "NOT_DOCUMENTS",
                f"{given.dataset} holds {kind}; a context is made of documents",
                field="context.dataset",
            )

    async def texts(self, project: str, given: pb.Context) -> list[str]:
        """Of the selected documents, in order."""
        await self.check(given)
        rows = [row async for row in gateway_client(self._settings, project).datasets.rows(given.dataset)]
        chosen = select_rows(rows, given.selection)
        if not chosen:
            raise Invalid(
                "NOTHING_SELECTED",
                f"no document of {given.dataset} has metadata {given.selection.key!r} = {given.selection.value!r}",
                field="context.selection",
            )
        return [row["text"] for row in chosen]

    async def reading(self, name: str, model: ModelRef) -> ContextRef | Index:
        """For a call with `context`: of the same model, or of the model that an adapter stands on."""
        identity.authorize(name)
        context = await self.resources.get(name)
        if context.state != common_pb2.ACTIVE:
            raise WrongState(
                "CONTEXT_NOT_ACTIVE", f"{name} is {common_pb2.State.Name(context.state)}", context=name
            )
        if context.model not in (model.name, model.base.name if model.base else ""):
            raise Invalid(
                "CONTEXT_OF_ANOTHER_MODEL",
                f"{name} is a context of {context.model}; make one for {model.name}",
                field="context",
            )
        if context.HasField("ttl"):
            await self.leases.used(name, context.ttl.ToNanoseconds() / 1e9)
        if context.HasField("retrieval"):
            return await self._index(context)
        if name not in self._texts:
            text = (await self._stored(context)).decode()
            self._texts[name] = ContextRef(digest(text), text, context.pinned)
            while len(self._texts) > REMEMBERED:
                self._texts.popitem(last=False)
        self._texts.move_to_end(name)
        return self._texts[name]

    async def with_expiry(self, contexts: list[pb.Context]) -> list[pb.Context]:
        leased = [context for context in contexts if context.HasField("ttl")]
        expiring = await self.leases.expire_times([context.name for context in leased]) if leased else {}
        for context in leased:
            if context.name in expiring:
                context.expire_time.FromMilliseconds(int(expiring[context.name] * 1000))
        return contexts

    async def _index(self, context: pb.Context) -> Index:
        """Kept within a number of bytes; one that is gone is built again from what is stored."""
        if context.name not in self._indices:
            content = await self._stored(context)
            index = await asyncio.to_thread(lambda: Index(retrieval.read(content), context.retrieval))
            self._indices[context.name] = index
            while len(self._indices) > 1 and self._index_bytes() > self._settings.index_bytes:
                self._indices.popitem(last=False)
        self._indices.move_to_end(context.name)
        return self._indices[context.name]

    async def _stored(self, context: pb.Context) -> bytes:
        """What was written for it; NotFound where it was deleted since somebody looked."""
        try:
            return await self._storage.get(self._storage.key(context.uri))
        except NotFound:
            raise identity.not_found(context.name) from None

    def _index_bytes(self) -> int:
        return sum(index.size_bytes for index in self._indices.values())

    async def delete(self, name: str) -> None:
        """Hides it, drops its keys and values, and erases its text; a context of the same text computes them again."""
        context = await self.resources.get(name)
        await self.resources.delete(name)
        await self.leases.end(name)
        self._texts.pop(name, None)
        self._indices.pop(name, None)
        if context.uri and not context.HasField("retrieval") and await self._backend.ready():
            text = (await self._storage.get(self._storage.key(context.uri))).decode()
            await self._backend.call("forget", ForgetCall(ContextRef(digest(text), text)))
        for key in [found.key async for found in self._storage.list(f"{name}/")]:
            await self._storage.delete(key)

    async def of_dataset(self, parent: str, meaning: Meaning) -> str:
        """The context of a virtual name, made once for the model and dataset as they are."""
        model, dataset = await self._names.ref(meaning.model), await self._names.dataset(meaning.dataset)
        wanted = _virtual(meaning)
        content = digest(f"{model.name} {model.key} {dataset.name} {dataset.sha256} {_settings_of(wanted)}")
        kind = "rag" if wanted.HasField("retrieval") else "icl"
        for number in range(MOST_TRIES):
            name = f"{parent}/contexts/{kind}-{content[:16]}-{number}"
            ended = await self._made(parent, name, wanted)
            if ended.HasField("error"):
                if ended.error.code not in PASSING:
                    raise OperationFailed(ended.name, from_status(ended.error, operation=ended.name))
            elif await self._exists(name):
                return name
        raise Unavailable("NO_CONTEXT", f"the context of {meaning.dataset} could not be made", 30.0)

    async def _made(self, parent: str, name: str, wanted: pb.Context) -> operations_pb2.Operation:
        request = pb.CreateContextRequest(
            parent=parent,
            context_id=name.rpartition("/")[2],
            context=wanted,
            request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        )
        operation = await self.operations.start(
            "CreateContext", request, new_context(request), request_id=request.request_id
        )
        ended = await self.operations.wait(operation.name, WAIT_S)
        if not ended.done:
            raise Unavailable("CONTEXT_NOT_READY", f"{name} is still being read; try again", 5.0)
        return ended

    async def _exists(self, name: str) -> bool:
        try:
            await self.resources.get(name)
        except NotFound:
            return False
        return True


def new_context(request: pb.CreateContextRequest) -> pb.Context:
    given = request.context
    return pb.Context(
        name=f"{request.parent}/contexts/{request.context_id or new_id('context')}",
        model=given.model,
        dataset=given.dataset,
        selection=given.selection,
        retrieval=given.retrieval if given.HasField("retrieval") else None,
        pinned=given.pinned,
        ttl=given.ttl if given.HasField("ttl") else None,
    )


def _virtual(meaning: Meaning) -> pb.Context:
    """The context that a virtual name asks for."""
    selection = common_pb2.RowSelection(distinct_key=meaning.distinct_key, subset=meaning.subset)
    return pb.Context(
        model=meaning.model, dataset=meaning.dataset, selection=selection, retrieval=meaning.retrieval
    )


def _settings_of(context: pb.Context) -> str:
    settings = context.selection.SerializeToString(deterministic=True).hex()
    if context.HasField("retrieval"):
        settings += f" {context.retrieval.SerializeToString(deterministic=True).hex()}"
    return settings


def digest(text: str) -> str:
    """Engines key caches by model and text; the resource's own digest covers both."""
    return hashlib.sha256(text.encode()).hexdigest()


def cost_of(spent: Spent) -> common_pb2.Cost:
    return common_pb2.Cost(
        prompt_token_count=spent.prompt_tokens - spent.cached_tokens,
        cached_token_count=spent.cached_tokens,
        generated_token_count=spent.generated_tokens,
        flops=spent.flops,
        compute_seconds=spent.compute_s,
    )
