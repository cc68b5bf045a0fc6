"""Where a method goes, by its descriptor; where an operation goes, by its name."""

import contextlib

import pytest
from google.longrunning import operations_pb2
from hypothesis import given
from hypothesis import strategies as st

from servicekit.errors import DomainError, Invalid
from services.gateway import routes

GET = routes.find("/google.longrunning.Operations/GetOperation")


@pytest.mark.parametrize(
    ("path", "backend", "reads", "uploads", "waits", "unary"),
    [
        ("/ingrain.v1.Datasets/UploadDataset", "augmenter", False, True, False, False),
        ("/ingrain.v1.Datasets/ReadRows", "augmenter", True, False, False, False),
        ("/ingrain.v1.Datasets/TraceRows", "augmenter", True, False, False, False),
        ("/ingrain.v1.Datasets/WithdrawRows", "augmenter", False, False, False, True),
        ("/ingrain.v1.Augmenter/AugmentDataset", "augmenter", False, False, False, True),
        ("/ingrain.v1.Trainer/UploadModel", "trainer", False, True, False, False),
        ("/ingrain.v1.Trainer/WatchTraining", "trainer", True, False, True, False),
        ("/ingrain.v1.Inference/Score", "inference", True, False, False, True),
        ("/ingrain.v1.Inference/GetEngine", "inference", True, False, False, True),
        ("/ingrain.v1.Evaluator/CreateEvaluation", "evaluator", False, False, False, True),
        ("/ingrain.v1.Studies/WatchStudy", "studies", True, False, True, False),
        ("/google.longrunning.Operations/WaitOperation", "", True, False, True, True),
        ("/google.longrunning.Operations/CancelOperation", "", False, False, False, True),
    ],
)
def test_methods_are_as_their_descriptors_say(
    path: str, backend: str, reads: bool, uploads: bool, waits: bool, unary: bool
) -> None:
    assert routes.find(path) == routes.Method(path, backend, reads, uploads, waits, unary)


def test_methods_that_make_delete_or_stop_something_do_not_count_as_reading() -> None:
    verbs = ("Create", "Delete", "Upload", "Import", "Augment", "Withdraw", "Cancel")
    for method in routes.METHODS.values():
        if method.path.rpartition("/")[2].startswith(verbs):
            assert not method.reads, method.path


@pytest.mark.parametrize("collection", routes.BACKEND_OF_COLLECTION)
@pytest.mark.parametrize("below", ["", "/x", "/x/operations/y"])
def test_operations_go_to_the_owner_of_their_collection(collection: str, below: str) -> None:
    request = operations_pb2.GetOperationRequest(name=f"projects/p/{collection}{below}")
    assert routes.backend_of(GET, request.SerializeToString()) == routes.BACKEND_OF_COLLECTION[collection]


@given(st.binary(max_size=200))
def test_any_bytes_for_operations_are_routed_or_refused(message: bytes) -> None:
    with contextlib.suppress(Invalid):
        assert routes.backend_of(GET, message) in routes.BACKEND_OF_COLLECTION.values()


@given(st.text(max_size=100))
def test_any_path_that_is_no_method_is_named(path: str) -> None:
    with pytest.raises(DomainError) as caught:
        routes.find(path)
    assert caught.value.reason == "UNKNOWN_METHOD"
