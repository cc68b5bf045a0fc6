"""What the evaluator says of the bundled model is what plain transformers says of it."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ingrain import AsyncClient
from ingrain.matching import list_match
from ingrain.v1 import common_pb2

PROJECT = "projects/demo"
MODEL = Path(__file__).parents[3] / "models" / "small"
CHOICE_METRICS = {
    *("acc", "acc_norm", "acc_bytes", "acc_token_norm"),
    *("brier_score", "confidence", "ece"),
}
IN_CONTEXT = {"dataset": "documents", "group_key": "world", "cluster_key": "world"}


class Plain:
    """One text after the other through transformers: no cache, no batches, nothing of the platform."""

    def __init__(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(MODEL)
        self._model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()

    def ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])

    def loglikelihood(self, prompt: str, choice: str) -> float:
        """Of ` choice` after `prompt`."""
        whole, begin = self.ids(f"{prompt} {choice}"), len(self.ids(prompt))
        assert whole[:begin] == self.ids(prompt)
        with self._torch.inference_mode():
            logits = self._model(self._torch.tensor([whole[:-1]])).logits[0]
        logprobs = logits.log_softmax(-1)
        return float(sum(logprobs[i - 1, whole[i]] for i in range(begin, len(whole))))

    def line(self, prompt: str) -> str:
        """The greedy continuation up to the end of its line."""
        ids = self._torch.tensor([self.ids(prompt)])
        with self._torch.inference_mode():
            out = self._model.generate(ids, max_new_tokens=64, do_sample=False)
        text = self._tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        return str(text.split("\n")[0].strip())


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain()


def in_context(documents: list[dict[str, Any]], probe: dict[str, Any], prompt: str) -> str:
    texts = [d["text"] for d in documents if d["metadata"]["world"] == probe["metadata"]["world"]]
    return "\n".join(texts) + f"\n\n{prompt}"


def check_summary(kinds: Any, results: dict[str, dict[str, Any]], probes: Any) -> None:
    """Each kind's numbers are those of its answers."""
    assert [kind.kind for kind in kinds] == list(dict.fromkeys(probe["kind"] for probe in probes))
    for kind in kinds:
        rows = [row for row in results.values() if row["kind"] == kind.kind]
        values = [row["value"] for row in rows]
        assert kind.n == len(rows)
        assert kind.value == pytest.approx(sum(values) / len(values))
        assert kind.metrics[kind.metric] == pytest.approx(kind.value)
        assert kind.ci95_low <= kind.value <= kind.ci95_high
        assert (kind.stderr > 0) == (len(set(values)) > 1)
        if "chance" in rows[0]:
            assert kind.chance == pytest.approx(sum(row["chance"] for row in rows) / len(rows))
            assert set(kind.metrics) == CHOICE_METRICS
            assert kind.tie_count == sum(row["tie"] for row in rows)


@pytest.mark.parametrize("with_documents", [False, True])
async def test_choices_are_scored_as_transformers_scores_them(
    world: Any, plain: Plain, probes: Any, documents: Any, with_documents: bool
) -> None:
    made = await world.evaluated("mine", **(IN_CONTEXT if with_documents else {}))
    results = await world.results("mine")
    check_summary(made.kinds, results, probes)
    assert list(results) == [probe["id"] for probe in probes]
    by_kind = {probe["kind"]: probe for probe in probes if "choices" in probe}
    for probe in by_kind.values():
        prompt = probe["prompt"]
        if with_documents:
            prompt = in_context(documents, probe, prompt)
        sums = [plain.loglikelihood(prompt, choice) for choice in probe["choices"]]
        row = results[probe["id"]]
        assert row["scores"] == pytest.approx(sums, abs=2e-3)
        assert row["token_counts"] == [
            len(plain.ids(f"{prompt} {choice}")) - len(plain.ids(prompt)) for choice in probe["choices"]
        ]
        assert row["answer"] == probe["choices"][sums.index(max(sums))]
        right = probe["answer"] if isinstance(probe["answer"], list) else [probe["answer"]]
        assert row["value"] == row["metrics"]["acc"] == float(row["answer"] in right)
        assert row["chance"] == pytest.approx(len(right) / len(probe["choices"]))
        assert (row["kind"], row["cluster"]) == (
            probe["kind"],
            probe["metadata"]["world"] if with_documents else probe["metadata"]["sources"][0],
        )


async def test_answers_are_written_and_matched(world: Any, plain: Plain, probes: Any, documents: Any) -> None:
    """Lists by their members, single answers word for word."""
    lists = [probe for probe in probes if probe["kind"] == "list"]
    owners = [
        {
            "id": f"owner-{i}",
            "kind": "owner",
            "question": probe["question"],
            "answers": [plain.line(in_context(documents, probe, f"Question: {probe['question']}\nAnswer:"))]
            if i == 0
            else ["something else"],
            "metadata": probe["metadata"],
        }
        for i, probe in enumerate(lists)
    ]
    world.datasets.add("questions", lists + owners)
    made = await world.evaluated("mine", "questions", **IN_CONTEXT)
    results = await world.results("mine")
    for probe in lists:
        said = plain.line(in_context(documents, probe, f"Question: {probe['question']}\nAnswer:"))
        row = results[probe["id"]]
        assert row["answer"] == said
        assert row["metrics"] == pytest.approx(list_match(said, probe["answers"]))
        assert row["value"] == row["metrics"]["f1"]
    of_lists, of_owners = made.kinds
    assert (of_lists.kind, of_lists.metric, of_lists.n) == ("list", "f1", len(lists))
    assert set(of_lists.metrics) == {"precision", "recall", "f1", "set_match"}
    mean = sum(results[probe["id"]]["metrics"]["recall"] for probe in lists) / len(lists)
    assert of_lists.metrics["recall"] == pytest.approx(mean)
    assert not of_lists.HasField("chance")
    assert set(of_owners.metrics) == {"exact_match", "f1"}
    # Only the first is asked for what the model says; another wording of the question changes what it says.
    assert (of_owners.metric, of_owners.value) == ("exact_match", 1 / len(lists))
    assert 0 <= of_owners.ci95_low < of_owners.value < of_owners.ci95_high <= 1
    other = await world.evaluated("other", "questions", question_template="{question} ->", **IN_CONTEXT)
    assert (await world.results("other"))[lists[0]["id"]]["answer"] != results[lists[0]["id"]]["answer"]
    assert other.question_template == "{question} ->"
    assert made.cost.generated_token_count > 0


async def test_an_evaluation_says_who_was_asked_what_where_and_at_what_price(
    world: Any, speak: Callable[..., AsyncClient]
) -> None:
    made = await world.evaluated("mine", "reversals", **IN_CONTEXT, distinct_key="fact")
    assert (made.name, made.state) == (f"{PROJECT}/evaluations/mine", common_pb2.ACTIVE)
    assert (made.subject.model, made.subject.context.dataset, made.subject.context.distinct_key) == (
        f"{PROJECT}/models/small",
        f"{PROJECT}/datasets/documents",
        "fact",
    )
    assert (made.probe_count, made.probes_sha256, made.results_uri) == (16, "d" * 64, "")
    assert made.model_sha256 == world.behind.models[f"{PROJECT}/models/small"].sha256
    where = made.environment
    assert (where.backend, where.device, where.process_count, where.dtype) == (
        "in process + transformers",
        "cpu",
        1,
        "float32",
    )
    assert dict(where.versions) == {"torch": version("torch"), "transformers": version("transformers")}
    assert made.cost.cached_token_count > made.cost.prompt_token_count > 0
    assert made.cost.wall_seconds >= made.cost.compute_seconds > 0
    assert await world.user.evaluations.get("mine") == made
    async with speak(f"127.0.0.1:{world.settings.port}", kind="service") as service:
        assert (await service.evaluations.get("mine")).results_uri.startswith(world.settings.storage)


@pytest.mark.parametrize("with_documents", [False, True])
async def test_a_rehearsal_reckons_the_tokens_and_asks_nothing(
    world: Any, probes: Any, with_documents: bool
) -> None:
    how = IN_CONTEXT if with_documents else {}
    operation = await world.user.evaluations.create("small", "probes", validate_only=True, **how)
    assert operation.done
    expected = operation.metadata.estimate
    assert expected.row_count == len(probes)
    trouble = world.behind.trouble
    assert (trouble.calls["Score"], trouble.calls["Generate"], trouble.calls["CreateContext"]) == (0, 0, 0)
    assert [found async for found in world.user.evaluations.list()] == []
    cost = (await world.evaluated("mine", **how)).cost
    assert expected.cost.prompt_token_count == pytest.approx(cost.prompt_token_count, rel=0.25)
    assert expected.cost.generated_token_count >= cost.generated_token_count > 0
    if not with_documents:
        # At most 64 tokens are reckoned for each answer, and fewer are written.
        assert cost.flops < expected.cost.flops < 4 * cost.flops
    assert any("contexts are read once" in note for note in expected.notes) is with_documents
