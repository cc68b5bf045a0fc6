"""Collections, operations and watches behave the same on both platforms."""

import threading
import uuid
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2

from ingrain import errors
from ingrain.v1 import (
    aliases_pb2,
    batches_pb2,
    common_pb2,
    datasets_pb2,
    evaluator_pb2,
    inference_pb2,
    studies_pb2,
    trainer_pb2,
)
from tests.e2e.contract.asked import DOCUMENTS, GONE, TAKEN, Contract, broken, invalid, too_early

pytestmark = pytest.mark.timeout(600)
COLLECTIONS = {
    "datasets": ("datasets", datasets_pb2, "Dataset", "Datasets"),
    "models": ("trainer", trainer_pb2, "Model", "Models"),
    "contexts": ("inference", inference_pb2, "Context", "Contexts"),
    "batches": ("batches", batches_pb2, "Batch", "Batches"),
    "evaluations": ("evaluator", evaluator_pb2, "Evaluation", "Evaluations"),
    "studies": ("studies", studies_pb2, "Study", "Studies"),
    "aliases": ("aliases", aliases_pb2, "Alias", "Aliases"),
}


class Collection:
    def __init__(self, contract: Contract, collection: str) -> None:
        service, self._messages, self._one, self._many = COLLECTIONS[collection]
        self._stub, self._field = getattr(contract.stubs, service), collection

    def get(self, name: str) -> Any:
        return getattr(self._stub, f"Get{self._one}")(
            getattr(self._messages, f"Get{self._one}Request")(name=name)
        )

    def delete(self, name: str) -> Any:
        request = getattr(self._messages, f"Delete{self._one}Request")(name=name)
        return getattr(self._stub, f"Delete{self._one}")(request)

    def list(self, **fields: Any) -> tuple[list[str], str]:
        request = getattr(self._messages, f"List{self._many}Request")(**fields)
        page = getattr(self._stub, f"List{self._many}")(request)
        return [one.name for one in getattr(page, self._field)], page.next_page_token


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_names_and_pages_that_are_none(contract: Contract, collection: str) -> None:
    at, parent, none = Collection(contract, collection), contract.parent, contract.name(collection)
    contract.check(
        {
            "gone": (lambda: at.get(none), GONE),
            "no name": (lambda: at.get(""), broken("name")),
            "nonsense": (lambda: at.get("nonsense"), broken("name")),
            "collection": (lambda: at.get(contract.name("nothings")), broken("name")),
            "a bell": (lambda: at.get(f"{none}\x07"), invalid("BAD_NAME", "name")),
            "a line": (lambda: at.get(f"{none}\n"), invalid("BAD_NAME", "name")),
            "too long": (lambda: at.get(none + "a" * 300), invalid("BAD_NAME", "name")),
            "delete": (lambda: at.delete(none), GONE),
            "delete nonsense": (lambda: at.delete("nonsense"), broken("name")),
            "parent": (lambda: at.list(parent="nonsense"), broken("parent")),
            "size": (lambda: at.list(parent=parent, page_size=-1), broken("page_size")),
            "token": (lambda: at.list(parent=parent, page_token="a"), invalid("BAD_PAGE_TOKEN", "page_token")),
        }
    )  # fmt: skip
    assert at.list(parent="projects/nobody", page_size=100_000) == ([], "")


def test_pages_go_on_where_they_ended_whatever_is_made_meanwhile(contract: Contract) -> None:
    at, tag = Collection(contract, "datasets"), uuid.uuid4().hex[:8]
    made = [contract.upload(DOCUMENTS, f"page-{tag}-{n}").name for n in range(5)]
    first, token = at.list(parent=contract.parent, page_size=2)
    assert first == [made[4], made[3]]
    contract.upload(DOCUMENTS, f"page-{tag}-later")
    at.delete(made[2])
    second, token = at.list(parent=contract.parent, page_size=2, page_token=token)
    assert second == [made[1], made[0]]
    assert token
    assert contract.refusal(lambda: at.get(made[2])) == GONE
    assert (
        contract.refusal(lambda: contract.upload(DOCUMENTS, f"page-{tag}-2")) == TAKEN
    )  # names are not used again


def test_datasets_are_stored_and_read(contract: Contract) -> None:
    foreign = datasets_pb2.Dataset(
        name="projects/x/datasets/y", row_count=99, uri="s3://x", labels={"a": "b"}
    )
    made = contract.upload([{"text": "a"}, {"text": "é"}], dataset=foreign)
    assert made.name.startswith(contract.name("datasets", ""))
    assert (made.kind, made.state, made.row_count, made.uri) == (1, common_pb2.ACTIVE, 2, "")
    assert (dict(made.labels), made.HasField("create_time")) == ({"a": "b"}, True)

    def read(**fields: Any) -> list[Any]:
        request = datasets_pb2.ReadRowsRequest(name=made.name, **fields)
        return list(contract.stubs.datasets.ReadRows(request))

    (page,) = read()
    assert list(page.rows) == ['{"text":"a","id":"row-000001"}', '{"text":"é","id":"row-000002"}']
    assert (page.start_row, page.sha256) == (0, made.sha256)
    assert [(p.start_row, len(p.rows)) for p in read(start_row=1)] == [(1, 1)]
    assert [(p.start_row, len(p.rows)) for p in read(max_row_count=1)] == [(0, 1)]
    assert read(start_row=2) == []
    assert contract.refusal(lambda: read(sha256="0" * 64)) == too_early("DATASET_CHANGED")

    request = datasets_pb2.WithdrawRowsRequest(name=made.name, row_ids=["row-000001"])
    left = contract.made(contract.stubs.datasets.WithdrawRows(request))
    assert (left.row_count, left.withdrawn_row_count, left.state) == (1, 1, common_pb2.ACTIVE)
    assert contract.refusal(lambda: read(sha256=made.sha256)) == too_early("DATASET_CHANGED")
    trace = datasets_pb2.TraceRowsRequest(name=contract.documents.name, row_ids=["d0"])
    found = next(contract.stubs.datasets.TraceRows(trace))
    assert (found.dataset, list(found.row_ids), found.depth) == (contract.documents.name, ["d0"], 0)
    trace.row_ids[:] = ["d9"]
    assert contract.refusal(lambda: contract.stubs.datasets.TraceRows(trace))[1] == "ROW_NOT_FOUND"


def test_operations(contract: Contract) -> None:
    stub, lro, tag = contract.stubs.operations, operations_pb2, uuid.uuid4().hex[:8]
    wanted = inference_pb2.Context(model=contract.model.name, dataset=contract.documents.name)
    request = inference_pb2.CreateContextRequest(
        parent=contract.parent, context_id=f"op-{tag}", context=wanted
    )
    name = contract.name("contexts", f"op-{tag}")

    request.validate_only = True
    dry = contract.stubs.inference.CreateContext(request)
    assert (dry.done, dry.name) == (True, f"{name}/operations/validate-only")
    assert dry.response.TypeName() == "ingrain.v1.Estimate"
    assert contract.refusal(lambda: Collection(contract, "contexts").get(name)) == GONE

    request.validate_only = False
    started = contract.stubs.inference.CreateContext(request)
    assert contract.made(started).name == name
    ended = stub.GetOperation(lro.GetOperationRequest(name=started.name))
    assert (ended.done, ended.response.TypeName()) == (True, "ingrain.v1.Context")
    metadata = common_pb2.OperationMetadata()
    assert ended.metadata.Unpack(metadata)
    assert (metadata.target, metadata.verb, metadata.attempt_count) == (name, "CreateContext", 1)
    for field in ("create_time", "update_time", "end_time"):
        assert metadata.HasField(field), field
    assert not metadata.cancel_requested

    waited = stub.WaitOperation(lro.WaitOperationRequest(name=started.name))
    assert waited == ended
    stub.CancelOperation(lro.CancelOperationRequest(name=started.name))  # too late, and no error
    assert stub.GetOperation(lro.GetOperationRequest(name=started.name)) == ended
    for under in (name, f"{name}/operations"):
        listed = stub.ListOperations(lro.ListOperationsRequest(name=under))
        assert [one.name for one in listed.operations] == [started.name]
    newest = stub.ListOperations(
        lro.ListOperationsRequest(name=contract.name("contexts", "").rstrip("/"), page_size=1)
    )
    assert [one.name for one in newest.operations] == [started.name]
    stub.DeleteOperation(lro.DeleteOperationRequest(name=started.name))

    none = f"{name}/operations/none"
    listing = lambda **fields: lambda: stub.ListOperations(lro.ListOperationsRequest(**fields))  # noqa: E731
    models = contract.name("models", "").rstrip("/")
    contract.check(
        {
            "deleted": (lambda: stub.GetOperation(lro.GetOperationRequest(name=started.name)), GONE),
            "gone": (lambda: stub.WaitOperation(lro.WaitOperationRequest(name=none)), GONE),
            "cancel": (lambda: stub.CancelOperation(lro.CancelOperationRequest(name=none)), GONE),
            "delete": (lambda: stub.DeleteOperation(lro.DeleteOperationRequest(name=none)), GONE),
            "nonsense": (lambda: stub.GetOperation(lro.GetOperationRequest(name="a")), invalid("BAD_NAME", "name")),
            "project": (listing(name=contract.parent), invalid("BAD_NAME", "name")),
            "filter": (listing(name=models, filter="a"), invalid("UNSUPPORTED_FILTER", "filter")),
            "size": (listing(name=models, page_size=-1), invalid("BAD_PAGE_SIZE", "page_size")),
            "token": (listing(name=models, page_token="a"), invalid("BAD_PAGE_TOKEN", "page_token")),
        }
    )  # fmt: skip


def study_request(contract: Contract, id: str, *methods: str) -> studies_pb2.CreateStudyRequest:
    spec = studies_pb2.StudySpec(
        dataset=contract.documents.name,
        probes=contract.probes.name,
        model=contract.model.name,
        methods=methods,
    )
    return studies_pb2.CreateStudyRequest(
        parent=contract.parent, study_id=id, study=studies_pb2.Study(spec=spec)
    )


def test_a_study_that_waits_is_watched_by_heartbeats_and_ends_when_it_is_cancelled(
    contract: Contract,
) -> None:
    stubs, operations, id = contract.stubs.studies, contract.stubs.operations, f"quiet-{uuid.uuid4().hex[:8]}"
    name = contract.name("studies", id)
    operation = stubs.CreateStudy(
        study_request(contract, id, "base", "icl", "icl_subset", "icl_retrieved", "rag")
    )
    assert stubs.PauseStudy(studies_pb2.PauseStudyRequest(name=name)).paused
    short = operations_pb2.WaitOperationRequest(name=operation.name)
    short.timeout.FromMilliseconds(1)
    assert not operations.WaitOperation(short).done
    contract.check(
        {
            "report": (lambda: stubs.GetReport(studies_pb2.GetReportRequest(name=name)), too_early("REPORT_NOT_READY")),
            "delete": (lambda: stubs.DeleteStudy(studies_pb2.DeleteStudyRequest(name=name)), too_early("STUDY_RUNNING")),
            "forget": (
                lambda: operations.DeleteOperation(operations_pb2.DeleteOperationRequest(name=operation.name)),
                too_early("OPERATION_RUNNING"),
            ),
            "ask": (
                lambda: contract.client.generate(f"auto:{id}", "cemid are"),
                too_early("STUDY_NOT_READY"),
            ),
            "taken": (lambda: stubs.CreateStudy(study_request(contract, id, "base")), TAKEN),
        }
    )  # fmt: skip
    watching, seen = stubs.WatchStudy(studies_pb2.WatchStudyRequest(name=name)), []
    for event in watching:
        seen.append(event)
        if event.sequence == 0:
            break
    assert seen[-1] == studies_pb2.StudyEvent()
    assert [event.sequence for event in seen[:-1]] == list(range(1, len(seen)))

    # From where this watch is: it ends by itself when the study does.
    further = studies_pb2.WatchStudyRequest(name=name, start_sequence=len(seen))
    rest: list[Any] = []
    watcher = threading.Thread(target=lambda: rest.extend(stubs.WatchStudy(further)))
    watcher.start()
    contract.client.operations.cancel(operation.name)
    with pytest.raises(errors.OperationCancelled) as cancelled:
        contract.made(operation)
    watcher.join(60)
    assert not watcher.is_alive()
    numbers = [event.sequence for event in rest if event.sequence]
    assert numbers == list(range(len(seen), len(seen) + len(numbers)))
    assert (cancelled.value.code, cancelled.value.reason) == (grpc.StatusCode.CANCELLED, "")
    assert stubs.GetStudy(studies_pb2.GetStudyRequest(name=name)).state == common_pb2.FAILED
    paused = contract.refusal(lambda: stubs.PauseStudy(studies_pb2.PauseStudyRequest(name=name)))
    assert paused == too_early("STUDY_NOT_RUNNING")
