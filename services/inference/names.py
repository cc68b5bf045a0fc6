"""What a model's name means: a model, or a model with documents in its context.

projects/p/models/m       a base model, an adapted one or an adapter
icl:<dataset>@<model>     the model with the dataset in its context
rag:<dataset>@<model>     the model with the passages of the dataset that are found for each question
auto:<study>              the study's winner
<alias>                   what the alias stands for now: support-bot@prod, or projects/p/aliases/support-bot@prod
"""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from ingrain import errors as sdk_errors
from ingrain.v1 import aliases_pb2, common_pb2, datasets_pb2, evaluator_pb2, studies_pb2, trainer_pb2
from servicekit import identity
from servicekit.errors import Invalid, NotFound, WrongState
from servicekit.peers import gateway_client
from servicekit.resources import Resources
from services.inference.settings import InferenceSettings
from services.inference.wire import EndpointRef, ModelRef

_MODEL = re.compile(r"^projects/[^/]+/models/[^/]+$")
_ALIAS = re.compile(r"^projects/[^/]+/aliases/[^/]+$")
_ALIAS_ID = re.compile(r"^[a-z][a-z0-9-]{0,62}(@[a-z][a-z0-9-]{0,30})?$")
REMEMBERED = 1024


class Meaning(NamedTuple):
    """`dataset` is put in the context where it is not empty: of rows that share `distinct_key` only the first, a
    `subset` of them, or what is found for each question (`retrieval`)."""

    model: str
    dataset: str = ""
    distinct_key: str = ""
    subset: common_pb2.Subset | None = None
    retrieval: common_pb2.Retrieval | None = None


class Names:
    def __init__(self, settings: InferenceSettings, aliases: Resources[aliases_pb2.Alias]) -> None:
        self._settings = settings
        self._aliases = aliases
        self._known: dict[tuple[str, bool], tuple[float, Any]] = {}

    async def meaning(self, parent: str, name: str) -> Meaning:
        """Of a name that a caller wrote; the project of virtual names and of aliases' ids is `parent`."""
        if _ALIAS.match(name):
            return await self._behind(name)
        if parent and _ALIAS_ID.match(name):
            try:
                return await self._behind(f"{parent}/aliases/{name}")
            except NotFound:
                if "@" in name:
                    raise
        return await self.target(parent, name)

    async def _behind(self, name: str) -> Meaning:
        """Read afresh for every call: a promotion counts at once."""
        identity.authorize(name)
        meaning = meaning_of((await self._aliases.get(name)).subject)
        await self.require(name, meaning)
        return meaning

    async def require(self, alias: str, meaning: Meaning) -> None:
        """WrongState where what an alias stands for is gone: nothing else ever answers in its place."""
        try:
            await self.ref(meaning.model)
            if meaning.dataset:
                await self.dataset(meaning.dataset)
        except sdk_errors.NotFound as error:
            raise WrongState(
                "ALIAS_TARGET_GONE",
                f"{alias} cannot stand for {meaning.model}: {error.message}; promote another target",
                alias=alias,
                model=meaning.model,
            ) from None

    async def target(self, parent: str, name: str) -> Meaning:
        """Of all names but aliases."""
        if _MODEL.match(name):
            return Meaning(name)
        kind, _, rest = name.partition(":")
        if kind not in ("icl", "rag", "auto") or not rest:
            raise Invalid(
                "BAD_MODEL_NAME",
                f"{name!r} is no model: expected projects/<project>/models/<model>, icl:<dataset>@<model>, rag:<dataset>@<model>, "
                "auto:<study> or an alias",
                field="model",
            )
        if not parent:
            raise Invalid(
                "NO_PARENT", f"{name!r} needs `parent`, the project that it belongs to", field="parent"
            )
        if kind == "auto":
            return await self._winner(_full(parent, "studies", rest))
        dataset, at, model = rest.partition("@")
        if not at or not dataset or not model:
            raise Invalid(
                "BAD_MODEL_NAME", f"{name!r} needs both, as in {kind}:<dataset>@<model>", field="model"
            )
        passages = common_pb2.Retrieval(unit=common_pb2.Retrieval.PASSAGE) if kind == "rag" else None
        return Meaning(_full(parent, "models", model), _full(parent, "datasets", dataset), retrieval=passages)

    async def _winner(self, name: str) -> Meaning:
        client = gateway_client(self._settings, identity.authorize(name))
        study = await client.stubs.studies.GetStudy(studies_pb2.GetStudyRequest(name=name))
        if study.state != common_pb2.ACTIVE or not study.recommendation.model:
            raise WrongState("STUDY_NOT_READY", f"{name} has no recommendation (yet)", study=name)
        if not study.recommendation.HasField("context"):
            if study.recommendation.method == "icl":  # of a study that did not write down what was read
                return Meaning(study.recommendation.model, study.spec.dataset, study.spec.distinct_key)
            return Meaning(study.recommendation.model)
        # Sets that were asked apart are read together: whose set a question belongs to, nobody says here.
        read = study.recommendation.context
        return Meaning(
            study.recommendation.model,
            read.dataset,
            read.distinct_key,
            read.subset if read.HasField("subset") else None,
            read.retrieval if read.HasField("retrieval") else None,
        )

    async def ref(self, name: str) -> ModelRef:
        """The model's description. ACTIVE models never change, so that it may be remembered for a while. Services may ask one that is
        VERIFYING: asking it is how it is verified."""
        return await self._remembered(name, self._ref)

    async def dataset(self, name: str) -> datasets_pb2.Dataset:
        """The dataset as it stands; one that is not ACTIVE is refused."""
        return await self._remembered(name, self._dataset)

    async def _remembered(self, name: str, ask: Callable[[str, str], Awaitable[Any]]) -> Any:
        project = identity.authorize(name)
        # What a service may ask is not yet for everybody.
        key = (name, identity.is_service())
        known = self._known.get(key)
        if known and time.monotonic() - known[0] < self._settings.model_names_s:
            return known[1]
        found = await ask(name, project)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = (time.monotonic(), found)
        return found

    async def _ref(self, name: str, project: str) -> ModelRef:
        client = gateway_client(self._settings, project)
        model = await client.stubs.trainer.GetModel(trainer_pb2.GetModelRequest(name=name))
        verified_by_asking = model.state == common_pb2.VERIFYING and identity.is_service()
        if model.state != common_pb2.ACTIVE and not verified_by_asking:
            state = common_pb2.State.Name(model.state)
            raise WrongState(
                "MODEL_NOT_ACTIVE", f"{name} is {state}; only an ACTIVE model can be asked", model=name
            )
        base = await self.ref(model.base_model) if model.adapter else None
        shape = base or model
        return ModelRef(
            name=name,
            sha256=model.sha256,
            uri=model.uri,
            chat_template=model.chat_template,
            context_window=shape.context_window,
            parameter_count=shape.parameter_count,
            layer_count=shape.layer_count,
            hidden_size=shape.hidden_size,
            base=base,
            endpoint=endpoint_of(model),
        )

    async def _dataset(self, name: str, project: str) -> datasets_pb2.Dataset:
        client = gateway_client(self._settings, project)
        dataset = await client.stubs.datasets.GetDataset(datasets_pb2.GetDatasetRequest(name=name))
        if dataset.state != common_pb2.ACTIVE:
            state = common_pb2.State.Name(dataset.state)
            raise WrongState(
                "DATASET_NOT_ACTIVE", f"{name} is {state}; only an ACTIVE dataset can be read", dataset=name
            )
        return dataset


def _full(parent: str, collection: str, name: str) -> str:
    return name if name.startswith("projects/") else f"{parent}/{collection}/{name}"


def short(name: str) -> str:
    return name.rpartition("/")[2]


def meaning_of(subject: evaluator_pb2.Subject) -> Meaning:
    """Who answers for anybody. Sets that were asked apart are read together: whose set a question belongs to, nobody says."""
    if not subject.HasField("context"):
        return Meaning(subject.model)
    read = subject.context
    return Meaning(
        subject.model,
        read.dataset,
        read.distinct_key,
        read.subset if read.HasField("subset") else None,
        read.retrieval if read.HasField("retrieval") else None,
    )


def subject_of(meaning: Meaning) -> evaluator_pb2.Subject:
    if not meaning.dataset:
        return evaluator_pb2.Subject(model=meaning.model)
    context = evaluator_pb2.SubjectContext(
        dataset=meaning.dataset,
        distinct_key=meaning.distinct_key,
        subset=meaning.subset,
        retrieval=meaning.retrieval,
    )
    return evaluator_pb2.Subject(model=meaning.model, context=context)


def endpoint_of(model: trainer_pb2.Model) -> EndpointRef | None:
    if not model.HasField("endpoint"):
        return None
    return EndpointRef(model.endpoint.base_url, model.endpoint.model_id, model.endpoint.api_key_ref)
