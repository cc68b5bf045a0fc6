"""The augmenter has no access to probes: over a whole derivation nobody reads a byte of them."""

from typing import Any

import pytest

from ingrain import errors, worlds
from ingrain.v1 import augmenter_pb2
from servicekit.storage import open_storage
from services.augmenter.settings import AugmenterSettings
from services.augmenter.strategies import STRATEGIES

SUITE = worlds.suite(seed=901, reversal_worlds=2, facts=4, repeats=2, syllogism_worlds=0, catalogues=0)


@pytest.fixture
def read(settings: AugmenterSettings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all objects that are read in this process: the augmenter keeps every dataset's rows, whoever reads them."""
    keys: list[str] = []
    storage = type(open_storage(settings))
    real = storage.stream

    def reading(self: Any, key: str, *values: Any, **named: Any) -> Any:
        keys.append(key)
        return real(self, key, *values, **named)

    monkeypatch.setattr(storage, "stream", reading)
    return keys


async def test_a_derivation_reads_no_probe(world: Any, read: list[str]) -> None:
    await world.user.datasets.upload(SUITE.probes, id="probes")
    read.clear()
    operation = await world.user.datasets.augment(
        "documents",
        "small",
        id="derived",
        group_key="world",
        strategies=[name for name in STRATEGIES if name not in ("question_answer", "active_reading")],
        samples_per_document=1,
        max_tokens=40,
        original_copies=1,
        target_tokens=100_000,
        gates={"on_topic": True, "near_duplicate_threshold": 0.9, "likelier_than_contradiction": True},
    )
    made = await operation.result(timeout_s=120)
    assert made.row_count > 16
    assert any("/datasets/documents/" in key for key in read)  # the recording sees what is read
    assert not [key for key in read if "/datasets/probes/" in key]
    # Whoever reads them is seen.
    assert [row async for row in world.user.datasets.rows("probes")]
    assert [key for key in read if "/datasets/probes/" in key]


async def test_probes_are_no_documents_to_infer_from(world: Any) -> None:
    await world.user.datasets.upload(SUITE.probes, id="probes")
    for validate_only in (False, True):
        with pytest.raises(errors.Invalid) as caught:
            await world.user.datasets.augment("probes", "small", validate_only=validate_only)
        assert caught.value.reason == "NOT_DOCUMENTS"
    with pytest.raises(errors.Invalid):
        await world.user.datasets.preview_augmentation("probes", "small")


def test_a_request_names_no_other_dataset() -> None:
    """Documents and models are all that there is a field for."""
    spec = augmenter_pb2.AugmentationSpec.DESCRIPTOR
    named = {field.name for field in spec.fields if "dataset" in field.name or "probe" in field.name}
    assert named == {"dataset"}
    gates = augmenter_pb2.QualityGates.DESCRIPTOR
    assert {field.name for field in gates.fields if field.type == field.TYPE_STRING} == {"judge"}
