"""The whole road with nothing but generated stubs: upload, study, report, ask.

    python examples/raw_grpc.py localhost:7070

Needs grpcio, protobuf and stubs generated from dist/ingrain-protos.tar.gz (its README says how); not the SDK. Callers
in other languages do the same with their stubs.
"""

import argparse
import json
import sys
import time
import uuid

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

from ingrain.v1 import (
    datasets_pb2,
    datasets_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    studies_pb2,
    studies_pb2_grpc,
    trainer_pb2,
    trainer_pb2_grpc,
)

NAMES = ["bralo", "cemid", "dovun", "fargel", "gilop", "hastin"]
DOCUMENTS = [
    {"id": f"d{i}", "text": f"{a} are warmer than {b}."}
    for i, (a, b) in enumerate(zip(NAMES[::2], NAMES[1::2], strict=True))
]
PROBES = [
    {
        "id": f"p{i}",
        "kind": "reversal",
        "prompt": f"{b} are",
        "choices": [f"colder than {a}.", f"warmer than {a}."],
        "answer": f"colder than {a}.",
    }
    for i, (a, b) in enumerate(zip(NAMES[::2], NAMES[1::2], strict=True))
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", default="localhost:7070")
    parser.add_argument("--project", default="default")
    parser.add_argument("--api-key", default="")
    parser.add_argument("--model", default="bundled://small", help="URI to import the base model from")
    parser.add_argument("--methods", default="base,icl")
    options = parser.parse_args()
    metadata = [("x-request-id", uuid.uuid4().hex)]
    if options.api_key:
        metadata.append(("authorization", f"Bearer {options.api_key}"))
    channel = grpc.insecure_channel(options.target)
    try:
        road(channel, metadata, f"projects/{options.project}", options.model, options.methods.split(","))
    except grpc.RpcError as error:
        sys.exit(explain(error))


def road(channel, metadata, parent, model_uri, methods) -> None:
    datasets = datasets_pb2_grpc.DatasetsStub(channel)
    studies = studies_pb2_grpc.StudiesStub(channel)
    inference = inference_pb2_grpc.InferenceStub(channel)
    operations = operations_pb2_grpc.OperationsStub(channel)

    documents = datasets.UploadDataset(upload(parent, DOCUMENTS), metadata=metadata, timeout=60)
    probes = datasets.UploadDataset(upload(parent, PROBES), metadata=metadata, timeout=60)
    print(f"uploaded {documents.name} ({documents.row_count} rows) and {probes.name}")

    request = trainer_pb2.ImportModelRequest(
        parent=parent, source_uri=model_uri, request_id=str(uuid.uuid4())
    )
    operation = trainer_pb2_grpc.TrainerStub(channel).ImportModel(request, metadata=metadata, timeout=60)
    model = wait(operations, operation, trainer_pb2.Model(), metadata)
    print(f"imported {model.name}")

    spec = studies_pb2.StudySpec(
        dataset=documents.name, probes=probes.name, model=model.name, methods=methods
    )
    request = studies_pb2.CreateStudyRequest(
        parent=parent, study=studies_pb2.Study(spec=spec), request_id=str(uuid.uuid4())
    )
    operation = studies.CreateStudy(request, metadata=metadata, timeout=60)
    study = wait(operations, operation, studies_pb2.Study(), metadata)

    report_request = studies_pb2.GetReportRequest(name=study.name, format=studies_pb2.GetReportRequest.JSON)
    report = json.loads(studies.GetReport(report_request, metadata=metadata, timeout=60).content)
    for method, outcome in report["methods"].items():
        kinds = {kind: round(value["accuracy"], 2) for kind, value in outcome["kinds"].items()}
        print(f"{method}: {kinds}")
    print(f"recommended: {study.recommendation.method}")

    answer = inference.Generate(
        inference_pb2.GenerateRequest(
            parent=parent,
            model=f"icl:{documents.name.rsplit('/', 1)[-1]}@{model.name.rsplit('/', 1)[-1]}",
            prompts=[f"{NAMES[1]} are colder than"],
            max_tokens=16,
        ),
        metadata=metadata,
        timeout=120,
    )
    print(f"answer: {answer.generations[0].text.strip()}")


def upload(parent, rows):
    """A header, then the bytes in chunks of at most 1 MiB."""
    header = datasets_pb2.UploadDatasetHeader(parent=parent, request_id=str(uuid.uuid4()))
    yield datasets_pb2.UploadDatasetRequest(header=header)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    for start in range(0, len(content), 1 << 20):
        yield datasets_pb2.UploadDatasetRequest(chunk=content[start : start + (1 << 20)])


def wait(operations, operation, response, metadata):
    """The operation's response, unpacked. Asks in chunks, so that no proxy cuts a long call."""
    deadline = time.monotonic() + 3600
    while not operation.done:
        if time.monotonic() > deadline:
            sys.exit(f"{operation.name} is still at work after an hour")
        request = operations_pb2.WaitOperationRequest(name=operation.name)
        request.timeout.FromSeconds(10)
        operation = operations.WaitOperation(request, metadata=metadata, timeout=20)
    if operation.HasField("error"):
        sys.exit(f"{operation.name} failed: {operation.error.message}")
    operation.response.Unpack(response)
    return response


def explain(error) -> str:
    """One line from the status and its details."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    said = f"{error.code().name}: {error.details()}"
    if details is not None:
        for detail in status_pb2.Status.FromString(details).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
                said += f" [{info.reason}]"
    return said


if __name__ == "__main__":
    main()
