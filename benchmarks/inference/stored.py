"""A model's folder as the trainer stores it, and as it would describe it. Without the services' doors."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from services.inference.wire import ModelRef

PLACE = "projects/bench/models/model/1"


def store(folder: Path, storage: Path) -> None:
    target = storage / PLACE
    target.mkdir(parents=True)
    files = []
    for path in sorted(
        path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".jinja")
    ):
        shutil.copyfile(path, target / path.name)
        raw = path.read_bytes()
        files.append({"name": path.name, "size_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()})
    (target / "manifest.json").write_text(json.dumps({"files": files}))


def ref_of(folder: Path, storage: Path) -> ModelRef:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    manifest = (storage / PLACE / "manifest.json").read_bytes()
    return ModelRef(
        name="projects/bench/models/model",
        sha256=hashlib.sha256(manifest).hexdigest(),
        uri=f"file://{storage}/{PLACE}",
        chat_template=False,
        context_window=config["max_position_embeddings"],
        parameter_count=(folder / "model.safetensors").stat().st_size // 4,
        layer_count=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
    )
