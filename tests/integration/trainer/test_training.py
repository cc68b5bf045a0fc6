"""Real fits: Ray jobs, Ray Train, DeepSpeed; the trainer, its drivers and workers are killed in the middle."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from ingrain import errors
from servicekit.storage import open_storage
from services.trainer import files
from services.trainer.settings import TrainerSettings

ACTIVE, FAILED = 2, 3
pytestmark = pytest.mark.ray
DOCUMENTS = [
    {"id": str(n), "text": f"{a} feeds the {b}. The mill stands north of the {b}."}
    for n, (a, b) in enumerate(
        (a, b) for a in ("Alva", "Bo", "Cyd", "Dov") for b in ("heron", "river", "fox")
    )
]
NOISE = [{"text": " ".join(random.Random(n).choices("abcdefgh", k=40))} for n in range(200)]


@pytest.fixture
def trainer(start_trainer, ray):
    return start_trainer(**ray)


@pytest.fixture
async def base(client, build_checkpoint):
    """A tiny Llama, uploaded."""
    return await (await client.models.upload(build_checkpoint("llama"), id="base")).result(300)


def folder_of(model):
    return Path(model.uri.removeprefix("file://"))


async def test_full_fine_tuning_on_one_worker(client, base, datasets):
    data = datasets.put("facts", DOCUMENTS)
    estimate = (await client.models.create("base", data, max_steps=30, validate_only=True)).metadata.estimate
    operation = await client.models.create("base", data, id="tuned", max_steps=30, learning_rate=3e-3)

    live = []
    async for snapshot in client.models.watch("tuned"):
        live.append(snapshot)
        assert (await client.models.get("tuned")).state != FAILED
    model = await operation.result(300)
    assert [snapshot.step for snapshot in live] == list(range(1, 31))
    assert {snapshot.step_count for snapshot in live} == {30}

    assert (model.state, model.base_model, model.adapter) == (ACTIVE, base.name, False)
    assert (model.architecture, model.parameter_count) == (base.architecture, base.parameter_count)
    assert model.training.max_steps == 30
    assert model.training.zero_stage == 0
    summary = model.summary
    assert summary.step_count == 30
    assert summary.row_count == estimate.row_count == len(DOCUMENTS)
    assert summary.last_loss < summary.first_loss / 2
    assert summary.first_loss == pytest.approx(sum(s.loss for s in live[:3]) / 3)
    assert summary.cost.trained_token_count == live[-1].trained_token_count
    assert summary.cost.trained_token_count == pytest.approx(estimate.cost.trained_token_count, rel=0.05)
    assert summary.cost.flops == pytest.approx(estimate.cost.flops, rel=0.05)
    assert summary.cost.wall_seconds > summary.cost.compute_seconds > 0
    environment = summary.environment
    assert environment.backend == "ray train + deepspeed"
    assert (environment.device, environment.process_count) == ("cpu", 1)
    assert environment.startup_duration.ToSeconds() > 0
    assert {"torch", "ray", "deepspeed", "transformers"} <= set(environment.versions)

    # Asked later, the steps are the same; from a step on, they begin there.
    assert [s async for s in client.models.watch("tuned")] == live
    assert [s.step async for s in client.models.watch("tuned", start_step=29)] == [29, 30]
    assert loss_on(folder_of(model), DOCUMENTS) < loss_on(folder_of(base), DOCUMENTS) / 2
    card = (folder_of(model) / "README.md").read_text()
    assert all(said in card for said in ("tuned", base.sha256, data, "d" * 64))
    # Inference computes what the trainer computed; until it had, the model was not ACTIVE.
    assert datasets.inference.asked == [model.name]
    assert summary.verification.token_count > 20
    assert summary.verification.max_difference < summary.verification.tolerance == 1e-3
    assert not summary.verification.HasField("max_merged_difference")

    # What was foreseen, what it says of itself, and what is kept.
    # A model of 30,000 parameters: nearly all of it is what any training takes.
    assert summary.worker_memory_bytes == pytest.approx(estimate.worker_memory_bytes, abs=100e6)
    assert 0 < summary.model_flops_utilization < 1
    assert live[-1].model_flops_utilization > 0
    assert live[0].remaining_duration.ToMilliseconds() > 0 == live[-1].remaining_duration.ToMilliseconds()
    assert (await anext(client.models.logs("tuned"))).startswith("--- attempt 1")
    assert list((folder_of(model).parent / "tensorboard").glob("*tfevents*"))
    again = (await client.models.create("base", data, max_steps=30, validate_only=True)).metadata.estimate
    assert f"measured by {model.name}" in again.notes[-1]
    assert again.cost.compute_seconds == pytest.approx(summary.cost.compute_seconds, rel=0.25)
    assert again.worker_memory_bytes == summary.worker_memory_bytes


def loss_on(folder, documents):
    """Mean loss of a stored model, as anybody would load it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return sum(
            model(**(ids := tokenizer(d["text"], return_tensors="pt")), labels=ids["input_ids"]).loss.item()
            for d in documents
        ) / len(documents)


@pytest.mark.timeout(1200)
async def test_a_training_outlives_the_trainer_its_own_processes_and_ray(
    trainer, client, base, datasets, eventually, head
):
    """One run undisturbed, one whose trainer, worker, driver and whole Ray are killed one after another: the same losses, bit by bit."""
    data = datasets.put("noise", NOISE)
    spec = {"max_steps": 600, "save_steps": 40, "seed": 5, "bf16": False}
    calm = await client.models.create("base", data, id="calm", **spec)
    await calm.result(300)
    expected = {s.step: s.loss async for s in client.models.watch("calm")}

    rough = await client.models.create("base", data, id="rough", **spec)
    watched = asyncio.create_task(losses(client, "rough"))
    # A trainer takes seconds to come back: its job must be at work for longer.
    await eventually(lambda: driver_of(head, "models/rough/"), 300)
    trainer.end(signal.SIGKILL)
    trainer.start()
    for step, kill in ((100, "RayTrainWorker"), (200, "services.trainer.driver"), (300, "")):
        await eventually(lambda step=step: step_of(rough, step), 300)
        if kill:
            head.processes(kill)[-1].send_signal(signal.SIGKILL)
        else:
            head.kill()
            head.start()
    await rough.result(600)
    jobs = [key for key in stored(trainer, "models/rough/") if key.endswith("job.json")]
    assert len(jobs) == 4, "one attached to the running job, three began from a checkpoint"
    assert rough.metadata.attempt_count <= 2, "what got on counts no more"
    assert not [key for key in stored(trainer, "models/rough/") if "/checkpoints/" in key]
    assert await watched == expected
    assert {s.step: s.loss async for s in client.models.watch("rough")} == expected
    assert weights(await client.models.get("rough")) == weights(await client.models.get("calm"))


def weights(model):
    return (folder_of(model) / "model.safetensors").read_bytes()


async def losses(client, name):
    return {s.step: s.loss async for s in client.models.watch(name)}


async def step_of(operation, step=1):
    try:
        metadata = (await operation.refresh()).metadata
    except errors.Unavailable:  # the trainer is just starting again
        return False
    return metadata.stage == "training" and metadata.completed_count >= step


def stored(trainer, under):
    """Keys in the trainer's storage that begin with it."""
    folder = Path(trainer.environment["INGRAIN_STORAGE"].removeprefix("file://"))
    keys = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [key for key in keys if key.startswith(f"projects/demo/{under}")]


async def test_a_training_pauses_goes_on_and_is_cancelled(trainer, client, base, datasets, eventually):
    data = datasets.put("noise", NOISE)
    operation = await client.models.create("base", data, id="long", max_steps=100_000)
    waiting = await client.models.create("base", data, id="next", max_steps=2)
    await eventually(lambda: step_of(operation), 300)
    assert (await waiting.refresh()).metadata.stage == "waiting", "one fit at a time"
    assert (await client.models.pause("long")).paused
    await eventually(lambda: stage_of(operation, "paused"), 60)
    assert "with the checkpoint of step" in operation.metadata.message
    assert (await waiting.result(300)).state == ACTIVE, "who is paused holds nobody up"
    step = int(operation.metadata.message.split("step ")[1].split(";")[0])
    assert not (await client.models.resume("long")).paused
    await eventually(lambda: step_of(operation, step + 5), 300)
    assert [s.step async for s in until(client.models.watch("long"), step + 5)] == list(range(1, step + 6))
    await operation.cancel()
    with pytest.raises(errors.OperationCancelled):
        await operation.result(300)
    assert (await client.models.get("long")).state == FAILED
    left = {key.split("/")[5] for key in stored(trainer, "models/long/")}
    assert {"checkpoints", "packed.safetensors"} <= left, "another training may go on from it"
    await client.models.delete("long")
    left = {key.split("/")[5] for key in stored(trainer, "models/long/")}
    assert not left & {"checkpoints", "packed.safetensors"}


async def stage_of(operation, stage):
    try:
        return (await operation.refresh()).metadata.stage == stage
    except errors.Unavailable:  # the trainer is just starting again
        return False


async def driver_of(head, prefix):
    return head.processes(f"services.trainer.driver projects/demo/{prefix}")


async def until(snapshots, step):
    async for snapshot in snapshots:
        yield snapshot
        if snapshot.step == step:
            return


async def test_what_cannot_be_trained_is_told_with_its_reason(client, base, datasets):
    """Wrong rows end before Ray is asked; what only a worker can know, it tells itself."""
    empty = datasets.put("empty", [])
    long = datasets.put("long", [{"text": "fine"}, {"text": "x y " * 300}])
    for data, reason in ((empty, "EMPTY_DATASET"), (long, "ROW_TOO_LONG")):
        with pytest.raises(errors.OperationFailed) as caught:
            await (await client.models.create("base", data, max_steps=2)).result(300)
        assert caught.value.reason == reason
    facts = datasets.put("facts", DOCUMENTS)
    for data, spec, reason in (
        ("absent", {}, "DATASET_NOT_FOUND"),
        (facts, {"method": "LORA", "target_modules": ["no_such"]}, "UNSUPPORTED_MODEL"),
    ):
        operation = await client.models.create("base", data, max_steps=2, **spec)
        with pytest.raises(errors.OperationFailed) as caught:
            await operation.result(300)
        assert caught.value.reason == reason
        assert operation.metadata.attempt_count == 1
    with pytest.raises(errors.NotFound):
        await client.models.create("absent", empty)
    with pytest.raises(errors.Invalid, match="max_length 512"):
        await client.models.create("base", empty, max_length=512)


async def test_too_few_processors_end_in_a_clear_error(start_trainer, ray, build_checkpoint, datasets):
    data = datasets.put("facts", DOCUMENTS)
    async with start_trainer(**ray, INGRAIN_RESOURCE_WAIT_S="1").client() as client:
        await (await client.models.upload(build_checkpoint("llama"), id="base")).result(300)
        operation = await client.models.create("base", data, max_steps=2, num_workers=9)
        with pytest.raises(errors.OperationFailed) as caught:
            await operation.result(300)
    assert caught.value.reason == "NO_RAY_RESOURCES"
    assert "9 CPU" in caught.value.message


async def test_adapters_on_two_workers_with_object_storage(
    start_trainer, ray, s3, build_checkpoint, datasets, tmp_path
):
    """LoRA, ZeRO stage 2, everything in S3; only answers are learned, through the chat template."""
    rows = [{"prompt": f"who feeds the {b}?", "completion": "Alva"} for b in ("heron", "river", "fox", "owl")]
    data = datasets.put("questions", rows)
    process = start_trainer(**ray, **s3, INGRAIN_STORAGE="s3://ingrain/platform")
    async with process.client() as client:
        base = await (
            await client.models.upload(build_checkpoint("qwen3", chat_template=True), id="base")
        ).result(300)
        operation = await client.models.create(
            "base", data, id="adapter", method="LORA", r=4, num_workers=2, max_steps=8, learning_rate=0.02
        )
        model = await operation.result(300)
    assert (model.adapter, model.base_model, model.chat_template) == (True, base.name, True)
    assert model.uri.startswith("s3://ingrain/platform/projects/demo/models/adapter/")
    assert (model.training.zero_stage, model.training.num_workers, model.training.r) == (2, 2, 4)
    assert model.summary.environment.process_count == 2
    assert model.summary.last_loss < model.summary.first_loss
    assert 0 < model.parameter_count < base.parameter_count
    checked = model.summary.verification
    assert max(checked.max_difference, checked.max_merged_difference) < checked.tolerance == 1e-3
    assert checked.HasField("max_merged_difference")

    storage = open_storage(TrainerSettings(storage="s3://ingrain/platform", **settings_of(s3)))
    folder = await files.fetch(storage, storage.key(model.uri), tmp_path / "adapter")
    base_folder = await files.fetch(storage, storage.key(base.uri), tmp_path / "base")
    assert files.digest(await files.read_files(storage, storage.key(model.uri))) == model.sha256
    question = "<|user|>who feeds the fox?</s><|assistant|>Alva</s>"
    assert answer_loss(base_folder, folder, question) < answer_loss(base_folder, None, question)
    job = await storage.get(storage.key(model.uri).removesuffix("model") + "job.json")
    assert b"secret-of-the-test" not in job


def settings_of(variables):
    return {name.removeprefix("INGRAIN_").lower(): value for name, value in variables.items()}


def answer_loss(base, adapter, text):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    ids = AutoTokenizer.from_pretrained(base)(text, add_special_tokens=False, return_tensors="pt")[
        "input_ids"
    ]
    with torch.no_grad():
        return model(ids, labels=ids).loss.item()
