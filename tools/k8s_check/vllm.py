"""Rules for engines that are told to be vLLM's: they need an image that has it, and the GPUs that they are told of."""

import re
from collections.abc import Iterator

from tools.k8s_check.objects import Finding, Object, pods
from tools.k8s_check.variables import environment

WITHOUT = re.compile(r"(^|/)ray[:@]")


def check(objects: list[Object]) -> Iterator[Finding]:
    for pod in pods(objects):
        if pod.component != "engines":
            continue
        told, _ = environment(container := pod.containers[0], objects)
        if told.get("INGRAIN_ENGINE") != "vllm":
            continue
        if WITHOUT.search(container["image"]):
            yield Finding(pod.where, "vllm", f"{container['image']} has no vLLM in it (ray-vllm has)")
        limits = (container.get("resources") or {}).get("limits") or {}
        has, wants = int(limits.get("nvidia.com/gpu", 0)), int(told.get("INGRAIN_VLLM_TENSOR_PARALLEL", 1))
        if "headGroupSpec" not in pod.path and has < wants:
            yield Finding(pod.where, "vllm", f"a replica takes {wants} GPUs and the pod has {has}")
