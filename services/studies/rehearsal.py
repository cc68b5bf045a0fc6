"""What a study will take, asked of every service."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from ingrain import AsyncClient
from ingrain.v1 import common_pb2, studies_pb2
from servicekit import amounts
from servicekit.prices import Part, hour_price, money, price_of
from services.studies.costs import Amount, amount
from services.studies.plan import Step
from services.studies.preflight import Inputs
from services.studies.requests import create, create_request
from services.studies.trial import Trial


async def rehearse(
    client: AsyncClient, steps: Sequence[Step], inputs: Inputs
) -> list[tuple[Step, common_pb2.Estimate]]:
    """Asks every service to check its part and to estimate it; nothing runs.

    What is not there yet is stood in for: a trained model by the base model, derived rows by none (every training
    takes the same steps).
    """
    bases = _bases(steps)

    async def estimate(step: Step) -> tuple[Step, common_pb2.Estimate]:
        names = {role: inputs.names[source] for role, source in step.inputs.items() if source in inputs.names}
        names["model"] = inputs.names[_base(step, bases)]
        request = create_request(step, client.parent, names, validate_only=True)
        found = await client.operations.wait(await create(client, step, request))
        # Time is what a trial tells; that of trainings alone would be taken for the whole.
        found.cost.compute_seconds = found.cost.wall_seconds = 0.0
        return step, found

    # Rows are left out by the study itself; there is nobody to ask.
    return await asyncio.gather(*(estimate(step) for step in steps if step.kind != "exclude"))


def with_trial(
    estimates: Sequence[tuple[Step, common_pb2.Estimate]],
    inputs: Inputs,
    trial: Trial,
    prices: studies_pb2.PriceTable,
) -> common_pb2.Estimate:
    """The sum with processor time as the trial has it, and its price."""
    for step, estimate in estimates:
        estimate.cost.compute_seconds = trial.seconds.get(step.id, 0.0)
    whole = sum_of(estimates, inputs)
    read = sum(trial.reading.values())
    whole.cost.compute_seconds += read
    if read:
        whole.notes.append(f"reading the documents: about {read:.1f} s of the processor")
    whole.notes.extend(trial.notes)
    if trial.judging:
        whole.notes.append(
            "What a judge took in the trial is in the seconds and in the price, and not among the tokens."
        )
    if not prices.currency_code:
        return whole
    bases = _bases([step for step, _ in estimates])
    lines: list[Part] = [(Amount(compute_seconds=read), inputs.model)]
    for step, one in estimates:
        judged = trial.judging.get(step.id, Amount())
        own = replace(amount(one.cost), compute_seconds=one.cost.compute_seconds - judged.compute_seconds)
        lines.append((own, inputs.model_of(_base(step, bases))))
        if step.id in trial.judging:
            lines.append((judged, inputs.model_of(step.inputs["judge"])))
    of_line = [price_of(work, model, inputs.device, prices) for work, model in lines]
    known = [price for price in of_line if price is not None]
    whole.price.CopyFrom(money(sum(known, Decimal(0)), prices))
    if len(known) < len(of_line):
        whole.notes.append("Not everything has a price; the sum holds what has.")
    if hour_price(inputs.device, prices.device_hours) is not None:
        whole.notes.append(f"Prices of {prices.effective_date}, by seconds of {inputs.device!r}.")
    return whole


def _bases(steps: Sequence[Step]) -> dict[str, str]:
    """Training step -> the role of the model that it begins with."""
    return {step.id: step.inputs["model"] for step in steps if step.kind == "train"}


def _base(step: Step, bases: Mapping[str, str]) -> str:
    source = step.inputs["model"]
    return bases.get(source, source)


def sum_of(estimates: Sequence[tuple[Step, common_pb2.Estimate]], inputs: Inputs) -> common_pb2.Estimate:
    """Costs and optimizer steps added, memory of the largest worker, notes with their steps."""
    whole = common_pb2.Estimate(row_count=inputs.documents.row_count + inputs.probes.row_count)
    for step, estimate in estimates:
        whole.cost.CopyFrom(amounts.sum_of(whole.cost, estimate.cost))
        whole.worker_memory_bytes = max(whole.worker_memory_bytes, estimate.worker_memory_bytes)
        whole.step_count += estimate.step_count
        seconds = estimate.cost.compute_seconds
        took = f"about {seconds:.1f} s of the processor; " if seconds else ""
        whole.notes.append(f"{step.id}: {took}{'; '.join(estimate.notes)}".rstrip("; "))
    whole.notes.append("Steps that were done before with the same inputs and settings will cost nothing.")
    return whole
