"""lm-evaluation-harness asks over HTTP what the platform scores over gRPC, and reads the same numbers.

The tool runs in an environment of its own, which `make build/lm-eval/bin/lm_eval` makes.
"""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).parents[4] / "build" / "lm-eval" / "bin" / "lm_eval"
NATS = 1e-4
QUESTIONS = [
    {"prompt": "the bralo is", "choices": ["bigger than the cemid.", "seen near the bridge", "old"]},
    {"prompt": "a dovun was seen near the old", "choices": ["bridge, twice.", "tools", "łódź 字"]},
    {"prompt": "which tools are there? the", "choices": ["old bridge", "bralo is a dovun and a cemid", "x"]},
]
SCORED = """task: scored
dataset_path: json
dataset_kwargs: {data_files: {test: questions.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: "{{choices}}"
doc_to_target: 0
metric_list: [{metric: acc}]
metadata: {version: 1.0}
"""
WRITTEN = """task: written
dataset_path: json
dataset_kwargs: {data_files: {test: questions.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["."], max_gen_toks: 12}
metric_list: [{metric: exact_match}]
metadata: {version: 1.0}
"""


@pytest.mark.slow
@pytest.mark.skipif(not TOOL.exists(), reason="lm_eval is not installed; `make agree-lm-eval` installs it")
@pytest.mark.parametrize("form", ["tokens", "texts"])
async def test_the_tool_reads_what_score_says(
    platform: Any, tokenizer: Any, tmp_path: Path, form: str
) -> None:
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    for name, text in (("scored", SCORED), ("written", WRITTEN)):
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    key = await platform.new_key()
    samples = await asyncio.to_thread(run_tool, tmp_path, platform.url, key, form == "tokens")
    async with platform.grpc() as client:
        scored = await client.score("base", [(row["prompt"], row["choices"]) for row in QUESTIONS])
        written = await client.generate(
            "base", inputs=[row["prompt"] for row in QUESTIONS], max_tokens=12, stop=["."]
        )
    gaps = []
    for sample in samples["scored"]:
        ours = scored.items[sample["doc_id"]].choices
        for ((sum_logprob, _is_greedy),), choice in zip(sample["resps"], ours, strict=True):
            gaps.append(abs(float(sum_logprob) - choice.sum_logprob))
    assert len(gaps) == 9
    assert max(gaps) <= NATS
    for sample in samples["written"]:
        assert sample["resps"][0][0] == written.generations[sample["doc_id"]].text
    print(f"\n{form}: {len(gaps)} log-likelihoods, largest difference {max(gaps):.1e} nats")


def run_tool(folder: Path, url: str, key: str, tokens: bool) -> dict[str, list[Any]]:
    """The tool's samples by task."""
    arguments = {
        "model": "base",
        "base_url": f"{url}/completions",
        "tokenizer": folder / "tokenizer",
        "tokenizer_backend": "huggingface",
        "tokenized_requests": tokens,
        "num_concurrent": 2,
        "max_length": 512,
    }
    command = [str(TOOL), "run", "--model", "local-completions", "--tasks", "scored,written"]
    command += ["--model_args", ",".join(f"{name}={value}" for name, value in arguments.items())]
    command += ["--include_path", ".", "--batch_size", "2" if tokens else "1"]
    command += ["--log_samples", "--output_path", "out"]
    variables = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | variables | {"OPENAI_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {
        task: [
            json.loads(line)
            for path in (folder / "out").glob(f"*/samples_{task}_20??-*.jsonl")
            for line in path.open()
        ]
        for task in ("scored", "written")
    }
