"""A rule for Kueue's quotas: the GPUs of a queue can all be used by trainings as the trainer makes them."""

from collections.abc import Iterator
from decimal import Decimal

from tools.k8s_check.objects import Finding, Object, name_of, named
from tools.k8s_check.pods import quantity

GPU = "nvidia.com/gpu"


def check(objects: list[Object]) -> Iterator[Finding]:
    """The most is asked for when each GPU is a training of its own: a head and a worker for each."""
    jobs = named(objects, "RayJob").values()
    for queue in named(objects, "ClusterQueue").values():
        quotas = nominal(queue)
        for job in jobs:
            head, worker = requested(job)
            trainings = quotas.get(GPU, Decimal()) // (worker.get(GPU) or 1)
            for resource in sorted(quotas.keys() - {GPU}):
                wanted = trainings * sum(pod.get(resource, Decimal()) for pod in (head, worker))
                if wanted > quotas[resource]:
                    message = f"trainings on all of its GPUs ask for {wanted} of {resource}; it has {quotas[resource]}"
                    yield Finding(name_of(queue), "quota", message)


def nominal(queue: Object) -> dict[str, Decimal]:
    """By resource, the sum over flavors."""
    quotas: dict[str, Decimal] = {}
    groups = queue["spec"].get("resourceGroups") or []
    for one in [one for group in groups for flavor in group["flavors"] for one in flavor["resources"]]:
        quotas[one["name"]] = quotas.get(one["name"], Decimal()) + (
            quantity(one["nominalQuota"]) or Decimal()
        )
    return quotas


def requested(job: Object) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """By resource, what the head and a worker ask for."""
    cluster = job["spec"]["rayClusterSpec"]
    head, worker = (
        {
            resource: (quantity(amount) or Decimal())
            for container in group["template"]["spec"]["containers"]
            for resource, amount in container["resources"]["requests"].items()
        }
        for group in (cluster["headGroupSpec"], cluster["workerGroupSpecs"][0])
    )
    return head, worker
