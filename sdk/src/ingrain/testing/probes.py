"""The fake's probes: the documents' own sentences, each with its ending among others'."""

import json
from typing import Any

from google.longrunning import operations_pb2

from ingrain import probes
from ingrain.testing.measuring import Evaluator
from ingrain.testing.store import Refused, Work
from ingrain.v1 import common_pb2, datasets_pb2

_COUNT = 30


class WritingEvaluator(Evaluator):
    def GenerateProbes(self, request: Any, context: Any) -> operations_pb2.Operation:
        for name in (request.spec.dataset, request.spec.model):
            self.store.active(name)
        if request.validate_only:
            count = self.store.get(request.spec.dataset).row_count
            name = self.store.name_of(request.parent, "probesets", request.dataset_id)
            return self.store.estimate(name, "GenerateProbes", common_pb2.Estimate(row_count=count))
        return self.store.once(request, lambda: self._write(request))

    def _write(self, request: Any) -> operations_pb2.Operation:
        spec = request.spec
        dataset = datasets_pb2.Dataset(kind=datasets_pb2.Dataset.PROBES)
        dataset.name = self.store.new_name(request.parent, "datasets", request.dataset_id)

        def finish() -> None:
            documents = list(map(json.loads, self.library.rows[spec.dataset]))
            rows = probes.verbatim(probes.sentences(documents), spec.seed)[: spec.count_per_kind or _COUNT]
            if not rows:
                raise Refused("INVALID_ARGUMENT", "NOTHING_KEPT", "no probe came through the checks", "spec")
            self.library.add(dataset, "\n".join(map(json.dumps, rows)).encode())
            dataset.labels["made_by"] = "GenerateProbes"
            dataset.labels["generator"] = spec.model
            dataset.labels["kept"] = json.dumps({"verbatim": len(rows)})
            dataset.labels["dropped"] = "{}"
            dataset.labels["trust"] = f"{len(rows)} sentences of the documents, checked by nobody"

        target = dataset.name.replace("/datasets/", "/probesets/")
        return self.store.start(
            dataset, Work("GenerateProbes", {"writing verbatim": 2}, finish, target=target)
        )
