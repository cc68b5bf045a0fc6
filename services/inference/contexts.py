"""contexts/ as resources: documents are selected and rendered once, and read once by the engine.

The truth of a context is its text in object storage; keys and values are a replica's cache and can be lost.
"""

import hashlib
import json
import uuid
from collections import OrderedDict

from ingrain.errors import OperationFailed, from_status
from ingrain.v1 import common_pb2, datasets_pb2
from ingrain.v1 import inference_pb2 as pb
from servicekit import identity
from servicekit.errors import Invalid, WrongState
from servicekit.operations import Operations
from servicekit.peers import gateway_client
from servicekit.resources import Resources, new_id
from servicekit.storage import Storage
from servicekit.worker import Task
from services.inference.backend import Backend
from services.inference.names import Meaning, Names
from services.inference.settings import InferenceSettings
from services.inference.wire import ContextRef, PrefillCall, Refused, Spent, raise_refused

REMEMBERED = 64  # texts of contexts in the door's memory
WAIT_S = 600.0


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
        self.resources = rows
        self.operations = operations
        self._names = names
        self._backend = backend
        self._texts: OrderedDict[str, ContextRef] = OrderedDict()

    async def create(self, task: Task, request: pb.CreateContextRequest) -> pb.Context:
        given = request.context
        await task.progress("reading documents")
        text, row_count = await self.render(task.project, given)
        model = await self._names.ref(given.model)
        sha256 = hashlib.sha256(f"{model.sha256} {text}".encode()).hexdigest()
        await task.progress("computing keys and values")
        answer = await self._backend.call("prefill", PrefillCall(model, ContextRef(text_digest(text), text)))
        if isinstance(answer, Refused):
            raise_refused(answer)
        token_count, spent = answer
        stored = await self._storage.put(f"{task.prefix}/documents.txt", text.encode())
        files = [{"name": "documents.txt", "size_bytes": stored.size_bytes, "sha256": stored.sha256}]
        await self._storage.put(f"{task.prefix}/manifest.json", json.dumps({"files": files}).encode())
        context = await self.resources.get(task.target)
        context.token_count, context.row_count = token_count, row_count
        context.sha256, context.uri = sha256, stored.uri
        context.cost.CopyFrom(cost_of(spent))
        return context

    async def render(self, project: str, given: pb.Context) -> tuple[str, int]:
        """The selected documents as one text, and how many they are."""
        client = gateway_client(self._settings, project)
        dataset = await client.datasets.get(given.dataset)
        if dataset.kind != datasets_pb2.Dataset.DOCUMENTS:
            kind = datasets_pb2.Dataset.Kind.Name(dataset.kind)
            raise Invalid(
                "NOT_DOCUMENTS",
                f"{given.dataset} holds {kind}; a context is made of documents",
                field="context.dataset",
            )
        wanted, texts, seen = given.selection, [], set()
        async for row in client.datasets.rows(given.dataset):
            metadata = row.get("metadata") or {}
            if wanted.key and str(metadata.get(wanted.key)) != wanted.value:
                continue
            if wanted.distinct_key and wanted.distinct_key in metadata:
                value = str(metadata[wanted.distinct_key])
                if value in seen:
                    continue
                seen.add(value)
            texts.append(row["text"])
        if not texts:
            raise Invalid(
                "NOTHING_SELECTED",
                f"no document of {given.dataset} has metadata {wanted.key!r} = {wanted.value!r}",
                field="context.selection",
            )
        return "\n".join(texts), len(texts)

    async def ref(self, name: str, model: str) -> ContextRef:
        """For a call with `context`: of the same model, or of the model that an adapted one was made from."""
        identity.authorize(name)
        context = await self.resources.get(name)
        if context.state != common_pb2.ACTIVE:
            raise WrongState(
                "CONTEXT_NOT_ACTIVE", f"{name} is {common_pb2.State.Name(context.state)}", context=name
            )
        if name not in self._texts:
            text = (await self._storage.get(self._storage.key(context.uri))).decode()
            self._texts[name] = ContextRef(text_digest(text), text)
            while len(self._texts) > REMEMBERED:
                self._texts.popitem(last=False)
        self._texts.move_to_end(name)
        return self._texts[name]

    async def of_dataset(self, parent: str, meaning: Meaning) -> str:
        """The context of a virtual name, made once."""
        context = pb.Context(model=meaning.model, dataset=meaning.dataset)
        digest = hashlib.sha256(f"{meaning.model} {meaning.dataset}".encode()).hexdigest()
        request = pb.CreateContextRequest(
            parent=parent,
            context_id=f"icl-{digest[:16]}",
            context=context,
            request_id=str(uuid.UUID(digest[:32])),
        )
        operation = await self.operations.start(
            "CreateContext", request, new_context(request), request_id=request.request_id
        )
        ended = await self.operations.wait(operation.name, WAIT_S)
        if ended.HasField("error"):
            raise OperationFailed(ended.name, from_status(ended.error, operation=ended.name))
        return f"{parent}/contexts/icl-{digest[:16]}"


def new_context(request: pb.CreateContextRequest) -> pb.Context:
    given = request.context
    return pb.Context(
        name=f"{request.parent}/contexts/{request.context_id or new_id('context')}",
        model=given.model,
        dataset=given.dataset,
        selection=given.selection,
    )


def text_digest(text: str) -> str:
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
