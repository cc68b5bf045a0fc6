"""Makes sure that a step's resource is there: found, waited for, or made.

Everything follows from the resource's name, which follows from the step's fingerprint. So a study can be run again
from the top at any time: what is there is taken, what is at work is waited for, what is missing is asked for under
a request id that makes it once.
"""

from collections.abc import Mapping
from typing import Any

from google.longrunning import operations_pb2

from ingrain import AsyncClient, errors
from ingrain.v1 import common_pb2
from servicekit.errors import WrongState
from servicekit.failpoints import failpoint
from services.studies import plan
from services.studies.failures import ADVICE, step_error
from services.studies.journal import Journal
from services.studies.leaving import leave_out
from services.studies.plan import Step
from services.studies.requests import cost_of, create, create_request, get

IN_THE_MAKING = (common_pb2.CREATING, common_pb2.VERIFYING)
MOST_ATTEMPTS = 20  # resources of one fingerprint that failed, were cancelled or deleted


async def ensure(
    client: AsyncClient, journal: Journal, step: Step, names: Mapping[str, str], digests: Mapping[str, str]
) -> Any:
    """The step's ACTIVE resource. `names`, `digests`: of its inputs, by role.

    What failed before, in another study, is tried again under the next name. What fails in this one raises.
    """
    digest = plan.fingerprint(step, digests)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        id = plan.resource_id(step, digest, attempt)
        name = f"{client.parent}/{step.collection}/{id}"
        resource = await _find(client, step, name)
        if resource is None or resource.state in IN_THE_MAKING:
            resource = await _make(client, journal, step, names, digest, id, exists=resource is not None)
        elif resource.state == common_pb2.FAILED and journal.own.get(step.id) == name:
            await _raise_its_error(client, step, name)
        if resource is not None and resource.state == common_pb2.ACTIVE:
            unknown = journal.own.get(step.id) == name and not journal.knows_operation(step.id)
            # The process ended between asking and writing down whom it asked; the operation is done by now.
            if unknown and (operation := await latest_operation(client, name)):
                await journal.running(step.id, name, operation.name, digest)
            await journal.ended(step.id, name, digest, cost_of(step, resource))
            return resource
    raise WrongState(
        "STEP_FAILED_TOO_OFTEN",
        f"The step `{step.id}` failed {MOST_ATTEMPTS} times in earlier studies. Look at the errors of {client.parent}/{step.collection}, mend the cause and delete them.",
        step=step.id,
        attempts=MOST_ATTEMPTS,
    )


async def _make(
    client: AsyncClient,
    journal: Journal,
    step: Step,
    names: Mapping[str, str],
    digest: str,
    id: str,
    exists: bool,
) -> Any:
    """The resource after its operation has ended, as it then stands; None where it is gone. Raises for an own one that failed."""
    name = f"{client.parent}/{step.collection}/{id}"
    if step.kind == "exclude":
        if not exists:
            await journal.begin(step.id, name)
            await leave_out(client, step, names, id, digest)
        return await _find(client, step, name)
    operation = await latest_operation(client, name) if exists else None
    if operation is None:
        if not exists:
            await journal.begin(step.id, name)
        request_id = plan.request_uuid(step.collection, id, digest)
        try:
            request = create_request(step, client.parent, names, id=id, request_id=request_id)
            operation = await create(client, step, request)
            failpoint("studies.after_create")
        except errors.AlreadyExists:  # another study was quicker, or the name was used and deleted
            journal.own.pop(step.id, None)
            operation = await latest_operation(client, name)
            if operation is None:
                return None
    await journal.running(step.id, name, operation.name, digest)
    try:
        await client.operations.wait(
            operation, on_progress=lambda metadata: journal.progress(step.id, metadata)
        )
    except errors.OperationFailed as error:
        if journal.own.get(step.id) == name:
            raise step_error(step.id, error) from error
    return await _find(client, step, name)


async def _find(client: AsyncClient, step: Step, name: str) -> Any:
    try:
        return await get(client, step, name)
    except errors.NotFound:
        return None


async def latest_operation(client: AsyncClient, name: str) -> operations_pb2.Operation | None:
    async for handle in client.operations.list(name):
        return handle.operation
    return None


async def _raise_its_error(client: AsyncClient, step: Step, name: str) -> None:
    operation = await latest_operation(client, name)
    if operation is not None:
        try:
            await client.operations.wait(operation)
        except errors.OperationFailed as error:
            raise step_error(step.id, error) from error
    raise WrongState("STEP_FAILED", f"The step `{step.id}` failed. {ADVICE}", step=step.id)
