"""lm-evaluation-harness and the platform say the same of the same model and the same tasks.

The tool runs in an environment of its own, which `make agree-lm-eval` makes; its numbers go into docs/metrics.md.
"""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ingrain.worlds.suite import suite

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "models" / "small"
TOOL = ROOT / "build" / "lm-eval" / "bin" / "lm_eval"
NATS = 1e-4
IN_CONTEXT = {"dataset": "documents", "group_key": "world", "cluster_key": "world"}


def run_tool(
    folder: Path, tasks: list[str], scratch: Path, model_args: str = ""
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Its results file, and its samples by task."""
    out = folder / "out"
    command = [TOOL, "run", "--model", "hf", "--tasks", ",".join(tasks)]
    command += [
        "--model_args",
        f"pretrained={MODEL},dtype=float32{model_args}",
        "--include_path",
        ".",
        "--device",
        "cpu",
    ]
    command += ["--batch_size", "16", "--log_samples", "--output_path", out]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | offline, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (results,) = out.glob("*/results_*.json")
    samples = {
        task: [
            json.loads(line) for path in out.glob(f"*/samples_{task}_20??-*.jsonl") for line in path.open()
        ]
        for task in tasks
    }
    return json.loads(results.read_text()), samples


def many_probes() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Documents and probes: ten worlds, and what is easily read otherwise by another tool."""
    found = suite(
        seed=903,
        reversal_worlds=10,
        facts=3,
        repeats=1,
        syllogism_worlds=4,
        syllogism_count=3,
        catalogues=1,
    )
    about = {"metadata": found.probes[0]["metadata"]}
    choices = {"kind": "two right", "choices": ["older than a.", "younger", "字"], **about}
    mixed = {"kind": "two/right", "answer": "younger", **about}
    odd = [
        {"id": "odd-1", "prompt": "bralo {{are}} {% if %}", "answer": ["younger", "字"], **choices},
        {"id": "odd-2", "prompt": "“Łódź” is", "answer": ["older than a."], **choices},
        {"id": "odd-3", "prompt": "bralo are ", "choices": ["older", "younger"], **mixed},
        {"id": "odd-4", "prompt": "bralo are", "choices": [" older", "younger"], **mixed},
        {"id": "odd-5", "kind": "who", "question": "Who is {bralo}?", "answers": ["the Bralo"], **about},
        {"id": "odd-6", "kind": "who", "question": "Who is it?", "answers": ["bralo"], **about},
    ]
    return found.documents, [*found.probes, *odd]


def margin(sums: list[float]) -> float:
    first, second = sorted(sums, reverse=True)[:2]
    return first - second


@pytest.mark.slow
@pytest.mark.skipif(not TOOL.exists(), reason="lm_eval is not installed; `make agree-lm-eval` installs it")
@pytest.mark.parametrize("with_documents", [False, True], ids=["alone", "in context"])
async def test_the_tool_agrees(world: Any, tmp_path: Path, with_documents: bool) -> None:
    documents, probes = many_probes()
    world.datasets.add("documents", documents)
    world.datasets.add("probes", probes)
    made = await world.evaluated("mine", **(IN_CONTEXT if with_documents else {}))
    answers = await world.results("mine")
    async with world.whole() as client:
        path = await client.evaluations.export_lm_eval("mine", tmp_path)
    ours = json.loads(path.read_text())
    theirs, samples = await asyncio.to_thread(run_tool, tmp_path, list(ours["results"]), tmp_path / "home")
    gaps: list[float] = []
    same = choices = written = 0
    for kind, (task, row) in zip(made.kinds, ours["results"].items(), strict=True):
        # What it writes is what we write: the same keys where both measure the same, and the same numbers.
        found = theirs["results"][task]
        shared = {key for key in found if not key.endswith("_stderr,none")} - {"alias", "name", "sample_len"}
        assert shared <= set(row)
        assert (found["alias"], found["sample_len"]) == (row["alias"], row["sample_len"])
        assert theirs["n-samples"][task] == ours["n-samples"][task]
        assert (theirs["versions"][task], theirs["n-shot"][task]) == (1.0, 0)
        # A choice that rounding decides is a tie for us, and the first of the two for the tool.
        allowed = kind.tie_count / kind.n + 1e-3
        for key in shared:
            assert found[key] == pytest.approx(row[key], abs=allowed), (task, key)
            stderr = key.replace(",", "_stderr,")
            if key != "brier_score,none" and not kind.tie_count:
                assert found[stderr] == pytest.approx(row[stderr], abs=1e-3), (task, stderr)
        for sample in samples[task]:
            mine = answers[sample["doc"]["id"]]
            if "scores" not in mine:
                assert sample["filtered_resps"][0].strip() == mine["answer"]
                written += 1
                continue
            sums = [float(response[0][0]) for response in sample["resps"]]
            gaps += [abs(a - b) for a, b in zip(sums, mine["scores"], strict=True)]
            choices += 1
            if margin(mine["scores"]) > NATS:
                chosen = sample["doc"]["choices"][sums.index(max(sums))]
                assert chosen.strip() == mine["answer"].strip()
                same += 1
    assert (choices, written) == (sum("choices" in probe for probe in probes), len(probes) - choices)
    assert len(gaps) > 300
    assert max(gaps) <= NATS
    print(
        f"\n{'in context' if with_documents else 'alone'}: {len(gaps)} log-likelihoods of {choices} probes, largest "
        f"difference {max(gaps):.1e}, mean {sum(gaps) / len(gaps):.1e} nats; same choice in {same} of {same} with a "
        f"margin above {NATS}; {written} written answers alike; lm_eval {theirs['lm_eval_version']}, "
        f"transformers {theirs['transformers_version']}"
    )


TEXTS = """task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: texts.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]
metadata: {version: 1.0}
"""


@pytest.mark.slow
@pytest.mark.skipif(not TOOL.exists(), reason="lm_eval is not installed; `make agree-lm-eval` installs it")
async def test_the_tool_agrees_on_texts(world: Any, documents: Any, tmp_path: Path) -> None:
    """Where it does not read the mark that begins texts twice, as it does by default where the tokenizer adds it."""
    rows = [{"id": str(i), "text": document["text"]} for i, document in enumerate(documents[:20])]
    world.datasets.add("texts", rows)
    (kind,) = (await world.evaluated("mine", "texts")).kinds
    answers = await world.results("mine")
    (tmp_path / "texts.yaml").write_text(TEXTS)
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = tmp_path, ["texts"], tmp_path / "home", ",add_bos_token=False"
    theirs, samples = await asyncio.to_thread(run_tool, *arguments)
    for name in ("bits_per_byte", "byte_perplexity", "word_perplexity"):
        assert theirs["results"]["texts"][f"{name},none"] == pytest.approx(kind.metrics[name], rel=1e-5)
    gaps = [
        abs(float(sample["resps"][0][0]) - answers[sample["doc"]["id"]]["loglikelihood"])
        for sample in samples["texts"]
    ]
    assert len(gaps) == 20
    assert max(gaps) <= NATS
    print(f"\n{len(gaps)} texts, largest difference {max(gaps):.1e} nats")
