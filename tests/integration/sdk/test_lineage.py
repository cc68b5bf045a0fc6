"""`client.lineage`: what came of rows, and taking them back with all of it, as often as it takes."""

from typing import Any

import pytest

from ingrain import AsyncClient, Client, errors
from ingrain.names import short_id
from ingrain.testing import FakePlatform


@pytest.fixture
def chain(client: Client, documents: list[dict[str, Any]]) -> Client:
    """docs -> first -> second, each read, trained on and measured."""
    client.models.import_("bundled://small", id="small").result(60)
    client.datasets.upload(documents, id="docs")
    client.datasets.upload([{"id": "x", "text": "unrelated"}], id="unrelated")
    client.datasets.augment("docs", "small", id="first").result(60)
    client.datasets.augment("first", "small", id="second").result(60)
    client.contexts.create("small", "first", id="reading").result(60)
    client.contexts.create("small", "unrelated", id="elsewhere").result(60)
    client.models.create("small", "second", id="trained").result(60)
    client.models.create("trained", "unrelated", id="further").result(60)
    client.models.create("small", "unrelated", id="clean").result(60)
    client.aliases.promote("bot@prod", "trained")
    return client


@pytest.fixture
def measured(chain: Client, probes: list[dict[str, Any]]) -> Client:
    chain.datasets.upload(probes, id="probes")
    chain.evaluations.create("further", "probes", id="asked").result(60)
    chain.evaluations.create("clean", "probes", id="other").result(60)
    chain.studies.create("docs", "probes", "small", id="study", methods=["base"]).result(60)
    return chain


def names(found: Any) -> list[str]:
    return [short_id(one.name) for one in found]


def test_everything_that_came_of_a_row_is_named(measured: Client) -> None:
    lineage = measured.lineage.of("docs", ["2"])
    assert [(short_id(rows.dataset), rows.depth, rows.ids) for rows in lineage.rows] == [
        ("docs", 0, ("2",)),
        ("first", 1, ("a1",)),
        ("second", 2, ("a1",)),
    ]
    assert lineage.row_count == 2
    assert names(lineage.contexts) == ["reading"]
    assert names(lineage.models) == ["further", "trained"]
    assert names(lineage.evaluations) == ["asked"]
    assert names(lineage.studies) == ["study"]
    assert names(lineage.aliases) == ["bot@prod"]
    everything = measured.lineage.of("docs")
    assert [len(rows.ids) for rows in everything.rows] == [3, 3, 3]


def test_withdrawing_takes_all_of_it_and_says_what_remains(measured: Client) -> None:
    told: list[str] = []
    done = measured.lineage.withdraw("docs", ["2"], tell=told.append)
    for dataset in ("docs", "first", "second"):
        assert len(list(measured.datasets.rows(dataset))) == 2
        assert measured.datasets.get(dataset).withdrawn_row_count == 1
    assert {short_id(name): count for name, count in done.withdrawn.items()} == {
        "second": 1,
        "first": 1,
        "docs": 1,
    }
    assert list(done.withdrawn)[-1] == "projects/default/datasets/docs"  # so that it can be repeated
    assert [short_id(name) for name in done.deleted] == ["reading"]
    assert names(measured.contexts.list()) == ["elsewhere"]
    assert names(done.retrain) == ["further", "trained"]
    assert done.reports == ("projects/default/studies/study",)
    said = " ".join(done.remaining)
    for part in ("model trained", "model further", "alias bot@prod", "study study", "evaluation asked"):
        assert part in said
    assert "clean" not in said
    assert len(told) == 4
    # The same again finds nothing to withdraw, and names the models that are still there.
    assert names(measured.lineage.of("docs", ["1"]).models) == ["further", "trained"]


def test_the_same_documents_under_another_name_are_named(
    chain: Client, documents: list[dict[str, Any]]
) -> None:
    chain.datasets.upload(documents, id="copy")
    assert chain.lineage.of("docs", ["2"]).copies == ("projects/default/datasets/copy",)
    done = chain.lineage.withdraw("docs", ["2"])
    assert "The dataset copy held the same rows; withdraw them from it, too." in done.remaining
    assert chain.lineage.of("docs", ["1"]).copies == ()


def test_models_are_deleted_when_asked(chain: Client) -> None:
    done = chain.lineage.withdraw("docs", ["2"], delete_models=True)
    assert done.retrain == ()
    assert [short_id(name) for name in done.deleted[:2]] == ["further", "trained"]
    assert names(chain.models.list()) == ["clean", "small"]
    assert any("bot@prod" in sentence for sentence in done.remaining)


def test_a_dataset_of_which_nothing_would_be_left_is_deleted(chain: Client) -> None:
    chain.lineage.withdraw("docs", ["1", "3"])
    done = chain.lineage.withdraw("docs", ["2"])
    assert sorted(short_id(name) for name in done.deleted if "/datasets/" in name) == [
        "docs",
        "first",
        "second",
    ]
    assert names(chain.datasets.list()) == ["unrelated"]


def test_after_a_failure_the_same_call_goes_on(chain: Client, platform: FakePlatform) -> None:
    """Derived rows are away already when the withdrawal from the next dataset fails."""
    withdraw_rows = platform._library.add
    failing = {"left": 2}

    def add(dataset: Any, content: bytes) -> None:
        failing["left"] -= 1
        if not failing["left"]:
            from ingrain.testing.store import Refused

            raise Refused("UNAVAILABLE", "AWAY", "the storage is away")
        withdraw_rows(dataset, content)

    platform._library.add = add  # type: ignore[method-assign]
    with pytest.raises(errors.OperationFailed):
        chain.lineage.withdraw("docs", ["2"])
    assert chain.datasets.get("second").row_count == 2
    first = chain.datasets.get("first")
    platform.store.get(first.name).state = platform.store.get("projects/default/datasets/docs").state
    done = chain.lineage.withdraw("docs", ["2"])
    assert [short_id(name) for name in done.withdrawn] == ["first", "docs"]
    assert names(done.retrain) == ["further", "trained"]  # of `second`, which had the row until then


def test_what_is_trained_after_the_rows_have_gone_is_not_named(chain: Client) -> None:
    chain.lineage.withdraw("docs", ["2"])
    chain.models.create("small", "second", id="again").result(60)
    assert names(chain.lineage.of("docs", ["2"]).models) == ["further", "trained"]
    assert "again" in names(chain.lineage.of("docs", ["1"]).models)


def test_no_rows_is_no_withdrawal(chain: Client) -> None:
    with pytest.raises(errors.Invalid, match="name the rows"):
        chain.lineage.withdraw("docs", [])


async def test_the_asynchronous_client_has_the_same(chain: Client, platform: FakePlatform) -> None:
    async with AsyncClient(platform.target) as client:
        assert (await client.lineage.of("docs", ["2"])).row_count == 2
        operation = await client.lineage.withdraw_rows("docs", ["2"], validate_only=True)
        assert (await operation.result()).row_count == 1
