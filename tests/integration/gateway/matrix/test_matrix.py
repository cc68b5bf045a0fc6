"""Every method of the descriptors x every kind of credential: nobody is let in who should not be, and nobody else is kept out.

The services behind the gateway are the real ones. A method that is added without a request below fails the first test.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

from ingrain import uploading
from services.gateway import routes

ONE = {
    name: {"name": f"projects/P/{name}/one"}
    for name in ("models", "contexts", "batches", "evaluations", "studies", "aliases")
}
DOCS = {"name": "projects/P/datasets/docs"}
PARENT = {"parent": "projects/P"}
MODEL, DATASET, PROBES = "projects/P/models/one", "projects/P/datasets/docs", "projects/P/datasets/probes"
DERIVED = {"spec": {"dataset": DATASET, "model": MODEL}}
ASKED = {**PARENT, "model": MODEL, "prompts": ["a"]}
# A request that is right, for each method; several for one that is begun by a stream.
REQUESTS: dict[str, Any] = {
    "Datasets/UploadDataset": [{"header": PARENT}, {"chunk": "eyJpZCI6ICJhIiwgInRleHQiOiAiYiJ9Cg=="}],
    "Datasets/ImportDataset": {**PARENT, "source_uri": "s3://bucket/rows.jsonl"},
    "Datasets/GetDataset": DOCS,
    "Datasets/ListDatasets": PARENT,
    "Datasets/TraceRows": {**DOCS, "row_ids": ["a"]},
    "Datasets/WithdrawRows": {**DOCS, "row_ids": ["a"]},
    "Datasets/ReadRows": DOCS,
    "Augmenter/AugmentDataset": {**PARENT, **DERIVED},
    "Augmenter/PreviewAugmentation": {**PARENT, **DERIVED},
    "Trainer/ImportModel": {**PARENT, "source_uri": "bundled://small"},
    "Trainer/UploadModel": [{"header": PARENT}],
    "Trainer/StartModelUpload": {
        **PARENT,
        "files": [{"name": "config.json", "size_bytes": "2", "sha256": "a" * 64}],
    },
    "Trainer/UploadModelPart": [
        {
            "header": {
                **PARENT,
                "upload_id": "u-0",
                "file_name": "config.json",
                "part_number": 1,
                "sha256": "a" * 64,
            }
        }
    ],
    "Trainer/FinishModelUpload": {**PARENT, "upload_id": "u-0"},
    "Trainer/CreateModel": {**PARENT, "training": {"base_model": MODEL, "datasets": [{"dataset": DATASET}]}},
    "Trainer/GetModel": ONE["models"],
    "Trainer/ListModels": PARENT,
    "Trainer/PauseTraining": ONE["models"],
    "Trainer/ResumeTraining": ONE["models"],
    "Trainer/DownloadModel": ONE["models"],
    "Trainer/ReadTrainingLog": ONE["models"],
    "Trainer/WatchTraining": ONE["models"],
    "Inference/Generate": ASKED,
    "Inference/StreamGenerate": ASKED,
    "Inference/Score": {**PARENT, "model": MODEL, "items": [{"prompt": "a", "choices": ["b"]}]},
    "Inference/CountTokens": {**PARENT, "model": MODEL, "texts": ["a"]},
    "Inference/CreateContext": {**PARENT, "context": {"model": MODEL, "dataset": DATASET}},
    "Inference/GetContext": ONE["contexts"],
    "Inference/ListContexts": PARENT,
    "Inference/GetEngine": {},
    "Aliases/PromoteAlias": {"name": "projects/P/aliases/bot", "target": MODEL},
    "Aliases/RollBackAlias": ONE["aliases"],
    "Aliases/GetAlias": ONE["aliases"],
    "Aliases/ListAliases": PARENT,
    "Batches/CreateBatch": {**PARENT, "batch": {"model": MODEL, "dataset": PROBES}},
    "Batches/GetBatch": ONE["batches"],
    "Batches/ListBatches": PARENT,
    "Evaluator/GenerateProbes": {**PARENT, **DERIVED},
    "Evaluator/CreateEvaluation": {**PARENT, "evaluation": {"subject": {"model": MODEL}, "probes": PROBES}},
    "Evaluator/GetEvaluation": ONE["evaluations"],
    "Evaluator/ListEvaluations": PARENT,
    "Evaluator/ReadResults": ONE["evaluations"],
    "Evaluator/CompareEvaluations": {
        **PARENT,
        "baseline": "projects/P/evaluations/one",
        "candidates": ["projects/P/evaluations/one"],
    },
    "Studies/CreateStudy": {
        **PARENT,
        "study": {"spec": {"dataset": DATASET, "probes": PROBES, "model": MODEL}},
    },
    "Studies/GetStudy": ONE["studies"],
    "Studies/ListStudies": PARENT,
    "Studies/PauseStudy": ONE["studies"],
    "Studies/ResumeStudy": ONE["studies"],
    "Studies/GetPriceTable": {},
    "Studies/WatchStudy": ONE["studies"],
    "Studies/GetReport": ONE["studies"],
    "Projects/CreateProject": {"project_id": "third"},
    "Projects/GetProject": {"name": "projects/P"},
    "Projects/ListProjects": {},
    "Keys/CreateKey": PARENT,
    "Keys/ListKeys": PARENT,
    # What takes something away comes last, so that all before it is still there.
    "Aliases/DeleteAlias": ONE["aliases"],
    "Batches/DeleteBatch": ONE["batches"],
    "Evaluator/DeleteEvaluation": ONE["evaluations"],
    "Inference/DeleteContext": ONE["contexts"],
    "Studies/DeleteStudy": ONE["studies"],
    "Trainer/DeleteModel": ONE["models"],
    "Datasets/DeleteDataset": DOCS,
    "Keys/RevokeKey": {"name": "projects/P/keys/key-000000000000"},
    "Projects/DeleteProject": {"name": "projects/P"},
}
OPERATIONS = ["Get", "List", "Wait", "Cancel", "Delete"]
METHODS = {
    method.full_name: method
    for service in (*routes.BACKEND_OF_SERVICE, *routes.OWN_SERVICES)
    for method in descriptor_pool.Default().FindServiceByName(service).methods
}
OF_ALL_PROJECTS = {"Inference/GetEngine", "Studies/GetPriceTable", "Projects/ListProjects"}
FOR_OPERATORS = {"Projects/CreateProject", "Projects/DeleteProject"}
OF_IDS_MADE_UP_HERE = {"Keys/RevokeKey", "Trainer/UploadModelPart", "Trainer/FinishModelUpload"}
WITHOUT_FILES = {
    "Trainer/DownloadModel",
    "Trainer/CreateModel",
    "Studies/GetReport",
}  # what is there is a row alone
OK, NOT_FOUND = grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND
DENIED, UNKNOWN_CALLER = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
Cell = tuple[str, list[Message]]


def cells(operations: dict[str, str], project: str) -> Iterator[Cell]:
    """Each method with a request that names what is in `project`; Operations once for each collection."""
    for short, given in REQUESTS.items():
        method = METHODS[f"ingrain.v1.{short.replace('/', '.')}"]
        kind = message_factory.GetMessageClass(method.input_type)
        yield short, [parsed(kind(), one, project) for one in (given if isinstance(given, list) else [given])]
    for verb in OPERATIONS:
        kind = getattr(operations_pb2, f"{verb}Operation{'s' if verb == 'List' else ''}Request")
        for collection, name in operations.items():
            named = name.replace("/default/", f"/{project}/")
            request = kind(name=named.partition("/operations/")[0] if verb == "List" else named)
            if verb == "Wait":
                request.timeout.FromMilliseconds(1)
            yield f"{verb}Operation{'s' if verb == 'List' else ''} {collection}", [request]


def parsed(message: Message, given: dict[str, Any], project: str) -> Message:
    text = json.dumps(given).replace("projects/P", f"projects/{project}")
    return json_format.Parse(text, message)


def path_of(short: str) -> str:
    if "/" in short:
        return f"/ingrain.v1.{short}"
    return f"/google.longrunning.Operations/{short.partition(' ')[0]}"


class Channels:
    """Two: grpc.aio loses the status of uploads that are refused while they are being sent (`ingrain.uploading`)."""

    def __init__(self, address: str) -> None:
        self.calls = grpc.aio.insecure_channel(address)
        self.uploads = grpc.insecure_channel(address)


class Caller:
    """What each call is answered with, for one kind of credential."""

    def __init__(self, channels: Channels, authorization: str) -> None:
        self.channels = channels
        self.metadata = [("authorization", authorization)] if authorization else []

    async def ask(self, short: str, requests: list[Message]) -> tuple[grpc.StatusCode, str]:
        path, serialized = path_of(short), [request.SerializeToString() for request in requests]
        more: dict[str, Any] = {"metadata": self.metadata, "timeout": 10}
        try:
            if path in routes.METHODS and routes.METHODS[path].uploads:
                await uploading.stream_unary(self.channels.uploads, path, iter(serialized), **more)
            else:
                async for _ in self.channels.calls.stream_stream(path)(iter(serialized), **more):
                    pass
        except grpc.RpcError as error:
            return error.code(), error.details() or ""
        return OK, ""


@pytest.fixture
async def channel(whole: Any) -> AsyncIterator[Channels]:
    opened = Channels(whole.address)
    yield opened
    await opened.calls.close()
    opened.uploads.close()


def bearer(whole: Any, credential: str) -> str:
    other = {"none": "", "malformed": "Bearer nonsense"}
    return other[credential] if credential in other else f"Bearer {whole.keys[credential]}"


def test_no_method_is_forgotten() -> None:
    assert {f"ingrain.v1.{short.replace('/', '.')}" for short in REQUESTS} == set(METHODS)
    proxied = {path for path in routes.METHODS if not path.startswith("/google")}
    assert {path_of(short) for short in REQUESTS} >= proxied
    assert len([path for path in routes.METHODS if path.startswith("/google")]) == len(OPERATIONS)


@pytest.mark.parametrize("credential", ["none", "malformed", "expired", "revoked"])
async def test_nobody_comes_in(whole: Any, channel: Channels, credential: str) -> None:
    caller = Caller(channel, bearer(whole, credential))
    for short, requests in cells(whole.operations, "default"):
        assert (await caller.ask(short, requests))[0] is UNKNOWN_CALLER, short


async def test_what_is_another_projects_does_not_exist(whole: Any, channel: Channels) -> None:
    """Not even by the words: they are those for what was never there."""
    stranger = Caller(channel, bearer(whole, "other project"))
    for short, requests in cells(whole.operations, "default"):
        code, said = await stranger.ask(short, requests)
        if short in FOR_OPERATORS:
            assert code is DENIED, short
        elif short in OF_ALL_PROJECTS:
            assert code is not NOT_FOUND, short
        else:
            assert (code, "does not exist" in said) == (NOT_FOUND, True), (short, code, said)
    untouched = Caller(channel, bearer(whole, "good"))
    for short, requests in cells(whole.operations, "default"):
        if short.rpartition("/")[2].startswith("Get") and short not in OF_ALL_PROJECTS | WITHOUT_FILES:
            assert (await untouched.ask(short, requests))[0] is not NOT_FOUND, short


async def test_read_only_keys_read(whole: Any, channel: Channels) -> None:
    reader = Caller(channel, bearer(whole, "read-only"))
    for short, requests in cells(whole.operations, "default"):
        code, said = await reader.ask(short, requests)
        if reads(short):
            assert code not in (DENIED, UNKNOWN_CALLER), (short, code, said)
            assert code is not NOT_FOUND or short in WITHOUT_FILES, (short, code, said)
        else:
            assert code is DENIED, (short, code, said)


async def test_asking_keys_ask(whole: Any, channel: Channels) -> None:
    asking = Caller(channel, bearer(whole, "ask"))
    for short, requests in cells(whole.operations, "default"):
        code, said = await asking.ask(short, requests)
        if path_of(short) in routes.ASKING:
            assert code not in (DENIED, UNKNOWN_CALLER, NOT_FOUND), (short, code, said)
        elif short not in ("Projects/GetProject", "Projects/ListProjects"):
            assert code is DENIED, (short, code, said)


async def test_good_keys_find_what_is_theirs(whole: Any, channel: Channels) -> None:
    """So that NOT_FOUND above tells something: the same requests find it all."""
    good = Caller(channel, bearer(whole, "good"))
    missing = OF_IDS_MADE_UP_HERE | WITHOUT_FILES
    for short, requests in cells(whole.operations, "default"):
        code, said = await good.ask(short, requests)
        if short in FOR_OPERATORS:
            assert code is DENIED, short
            continue
        assert code not in (DENIED, UNKNOWN_CALLER, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (
            short,
            code,
            said,
        )
        assert code is not NOT_FOUND or short in missing, (short, code, said)


async def test_a_name_of_another_project_inside_of_a_request_opens_nothing(
    whole: Any, channel: Channels
) -> None:
    """At every place of every message that takes a name: refused, and told apart from a missing one by nothing."""
    stranger = Caller(channel, bearer(whole, "other project"))
    places = 0
    for short, requests in cells({}, "other"):
        if short in FOR_OPERATORS | OF_ALL_PROJECTS:
            continue
        for path, collection in named(requests[0].DESCRIPTOR):
            if not collection:
                continue
            answers: list[tuple[grpc.StatusCode, str]] = []
            for id in (THERE[collection], "nowhere"):
                message, name = type(requests[0])(), f"projects/default/{collection}/{id}"
                message.CopyFrom(requests[0])
                put(message, path, name)
                code, said = await stranger.ask(short, [message, *requests[1:]])
                answers.append((code, said.replace(name, "NAME")))
            assert answers[0][0] is not OK, (short, path)
            assert answers[0] == answers[1], (short, path)
            places += 1
    assert places == PLACES


# Where requests take names, all asked above. A field that is added moves it: see that `named` finds it.
PLACES = 78
# Fields that take more than full names, so that no pattern tells what they are.
UNRULED = {
    "model": "models",
    "checker": "models",
    "teacher": "models",
    "target": "models",
    "candidates": "evaluations",
}
THERE = dict.fromkeys(ONE, "one") | {"datasets": "docs", "keys": "key-000000000000"}


def named(kind: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Paths of fields that take a resource's name, by the protos' own patterns, and the collection that they name."""
    for field in kind.fields:
        options = field.GetOptions()
        if field_behavior_pb2.OUTPUT_ONLY in options.Extensions[field_behavior_pb2.field_behavior]:
            continue
        rules = options.Extensions[validate_pb2.field]
        pattern = rules.string.pattern or rules.repeated.items.string.pattern
        if pattern.startswith("^projects/"):
            parts = pattern.strip("^$").split("/")
            yield (*above, field.name), next((part for part in parts if part in THERE), "")
        elif field.name in UNRULED:
            yield (*above, field.name), UNRULED[field.name]
        nested = field.message_type
        if (
            nested
            and nested.file.package == "ingrain.v1"
            and not nested.GetOptions().map_entry
            and len(above) < 3
        ):
            yield from named(nested, (*above, field.name))


def put(message: Any, path: tuple[str, ...], value: str) -> None:
    for name in path[:-1]:
        inner = getattr(message, name)
        message = (inner[0] if len(inner) else inner.add()) if hasattr(inner, "add") else inner
    if message.DESCRIPTOR.fields_by_name[path[-1]].is_repeated:
        getattr(message, path[-1]).append(value)
    else:
        setattr(message, path[-1], value)


def reads(short: str) -> bool:
    if path_of(short) in routes.METHODS:
        return routes.METHODS[path_of(short)].reads
    return short in ("Projects/GetProject", "Projects/ListProjects", "Keys/ListKeys")
