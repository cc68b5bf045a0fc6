"""Which prompts depend on what, by counting: 1,000 documents of which one changes."""

from types import SimpleNamespace
from typing import Any

import pytest

from ingrain.v1 import augmenter_pb2, trainer_pb2
from services.augmenter.asking import Asking
from services.augmenter.documents import documents_of
from services.augmenter.generating import cost_of
from services.augmenter.planning import batches, plan
from services.augmenter.spec import resolve

KINDS = ("bigger", "heavier", "older", "faster")


def thousand(changed: int | None = None) -> list[dict[str, Any]]:
    """Facts in 250 worlds of four; one of them in another wording."""
    return [
        {
            "id": f"d{i}",
            "text": f"fen{i} are {'much ' if i == changed else ''}{KINDS[i % 4]} than tor{i}.",
            "metadata": {"world": f"w{i // 4}"},
        }
        for i in range(1000)
    ]


def digests(rows: list[dict[str, Any]], sha256: str = "m", **given: Any) -> list[str]:
    spec = resolve(augmenter_pb2.AugmentationSpec(dataset="d", model="m", **{"group_key": "world", **given}))
    documents = documents_of(rows, spec)
    nothing: Any = SimpleNamespace()
    asking = Asking(
        nothing,
        nothing,
        nothing,
        nothing,
        nothing,
        spec,
        nothing,
        trainer_pb2.Model(sha256=sha256),
        documents,
    )
    return asking.digests(plan(spec, documents))


def asked_again(**given: Any) -> tuple[int, int]:
    """Prompts in all, and those that are not there from before."""
    before, after = set(digests(thousand(), **given)), digests(thousand(changed=500), **given)
    return len(after), sum(digest not in before for digest in after)


def test_local_prompts_of_the_changed_document_alone_are_asked_again() -> None:
    strategies = ["rephrase", "reverse", "infer"]
    assert asked_again(strategies=strategies, samples_per_document=2) == (6000, 6)
    assert asked_again(strategies=strategies, samples_per_document=2, temperature=0.0) == (3000, 3)


def test_global_prompts_of_its_world_alone_are_asked_again() -> None:
    in_all, again = asked_again(strategies=["link"], temperature=0.0)
    assert (in_all, again) == (1000, 4)


def test_without_groups_everything_global_reads_every_document() -> None:
    in_all, again = asked_again(strategies=["link"], temperature=0.0, group_key="")
    assert in_all == again == 1000


def chain(changed: int | None = None) -> list[dict[str, Any]]:
    """1,000 facts of one set, four about each two neighbours; one of them in another wording."""
    return [
        {
            "id": f"d{i}",
            "text": f"fen{i // 4} are {'much ' if i == changed else ''}{KINDS[i % 4]} than fen{i // 4 + 1}.",
        }
        for i in range(1000)
    ]


@pytest.mark.parametrize("count", [4, 8, 12, 16])
def test_global_prompts_that_read_the_likest_are_asked_again_where_it_is_among_them(count: int) -> None:
    """That the document changed moves all scores a little, and must not change what others read."""
    spec = {
        "strategies": ["link"],
        "temperature": 0.0,
        "group_key": "",
        "context_document_count": count,
    }
    before, after = set(digests(chain(), **spec)), digests(chain(changed=500), **spec)
    again = sum(digest not in before for digest in after)
    assert 1 <= again <= count + 1
    assert len(after) == 1000


@pytest.mark.parametrize(
    "change", [{"sha256": "other"}, {"max_tokens": 7}, {"temperature": 0.5}, {"seed": 3}]
)
def test_what_decides_the_output_is_in_the_digest(change: dict[str, Any]) -> None:
    rows = thousand()[:8]
    plain = {"strategies": ["reverse", "link"]}
    assert not set(digests(rows, **plain)) & set(digests(rows, **plain, **change))


def test_more_samples_and_strategies_keep_what_is_there() -> None:
    rows = thousand()[:8]
    few = digests(rows, strategies=["reverse"], samples_per_document=1)
    assert set(few) < set(digests(rows, strategies=["reverse", "link"], samples_per_document=3))
    assert digests(rows, strategies=["reverse"], temperature=0.0, seed=1) == digests(
        rows, strategies=["reverse"], temperature=0.0, seed=2
    )  # greedy: no seed is drawn from


def test_samples_of_one_number_go_into_one_call() -> None:
    """The engine tells equal prompts of a call apart by their order, which must not decide what they are."""
    spec = resolve(
        augmenter_pb2.AugmentationSpec(dataset="d", model="m", strategies=["reverse"], samples_per_document=2)
    )
    planned = plan(spec, documents_of([{**row, "metadata": {}} for row in thousand()[:5]], spec))
    calls = list(batches(sorted(planned, key=lambda item: item.sample), 100))
    assert [[item.sample for item in call] for call in calls] == [[0] * 5, [1] * 5]


def test_shares_add_up_to_what_a_call_took() -> None:
    shares = [[10 / 3, 20 / 3, 1.0, 1.5, 0.25]] * 3
    cost = cost_of(shares)
    assert (cost.prompt_token_count, cost.cached_token_count, cost.generated_token_count) == (10, 20, 3)
    assert (cost.flops, cost.compute_seconds) == (4.5, 0.75)
    assert cost_of([]).flops == 0
