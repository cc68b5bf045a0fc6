"""How much of a study was done anew, and how much was there already. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingrain.v1 import datasets_pb2, evaluator_pb2, studies_pb2


@dataclass(frozen=True)
class Reuse:
    """`steps`, `prompts` and `probes` in all, and how many of them were not done in this study.

    Prompts and probes of a step that was taken over whole count as taken over.
    """

    steps: int
    steps_reused: int
    prompts: int
    prompts_reused: int
    probes: int
    probes_reused: int

    @property
    def sentence(self) -> str:
        words = [f"{self.steps - self.steps_reused} of {self.steps} steps done anew"]
        if self.prompts:
            words.append(
                f"{self.prompts - self.prompts_reused:,} of {self.prompts:,} prompts of augmentation"
            )
        words.append(f"{self.probes - self.probes_reused:,} of {self.probes:,} answers")
        return ", ".join(words) + "; the rest was there already."


def reuse(steps: Sequence[studies_pb2.StudyStep], made: Mapping[str, Any]) -> Reuse:
    """`made`: the steps' resources by step."""
    prompts = prompts_reused = probes = probes_reused = taken = 0
    for step in steps:
        resource = made.get(step.id)
        whole = step.status == studies_pb2.StudyStep.REUSED
        taken += whole
        if isinstance(resource, datasets_pb2.Dataset):
            source = resource.provenance
            prompts += source.prompt_count
            prompts_reused += source.prompt_count if whole else source.reused_prompt_count
        elif isinstance(resource, evaluator_pb2.Evaluation):
            probes += resource.probe_count
            probes_reused += resource.probe_count if whole else resource.reused_probe_count
    return Reuse(len(steps), taken, prompts, prompts_reused, probes, probes_reused)
