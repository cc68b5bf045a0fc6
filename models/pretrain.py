"""Pretrain the bundled model from scratch on nonsense worlds. Needs torch and transformers only.

    python models/pretrain.py                 # the recipe of the model card; resumes by itself
    python models/pretrain.py --smoke         # three minutes, checks that it learns and loads

Checkpoints go to `models/runs/<name>/`; `--export <folder>` writes the averaged weights as a
model folder at every evaluation.
"""

from __future__ import annotations

# ruff: isort: off
import lean

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaForCausalLM

import network
import tasks
import tokenizer as text
import vocabulary
from batches import stream
from episodes import draw
from ingrain.worlds.names import PRETRAIN
from muon import StackedMuon
from scoring import accuracy

# How many documents a context may hold; the next width comes when the present one is mastered
# well enough for the narrower ones to be safe.
WIDTHS = (4, 6, 8, 12, 16, 24, 32)
MASTERED = 0.78
SLIGHT = 0.05


@dataclass(frozen=True)
class Recipe:
    """All that decides the result, besides the code."""

    name: str = "small"
    seed: int = 0
    tokens: int = 36_000_000
    tokens_per_step: int = 2048
    matrix_rate: float = 3e-3
    other_rate: float = 2e-3
    warmup_steps: int = 150
    decay_share: float = 0.3
    average: float = 0.998
    evaluate_every: int = 600
    layers: int = 6
    width: int = 128
    inner: int = 384
    reading_start: bool = True
    first_width: int = 4


class Run:
    """The state of a pretraining: everything that a checkpoint holds, and how it goes on."""

    def __init__(self, recipe: Recipe, folder: Path, device: str) -> None:
        self.recipe, self.folder, self.device = recipe, folder, device
        self.tokenizer = text.build(vocabulary.words())
        self.encoder = text.WordEncoder(self.tokenizer)
        shape = network.Shape(recipe.width, recipe.layers, recipe.inner, recipe.reading_start)
        model = network.build(shape, self.tokenizer.get_vocab_size(), recipe.seed)
        self.model = model.to(device)
        self.averaged = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.optimizers = optimizers(self.model, recipe)
        self.step = self.tokens = 0
        self.seconds = 0.0
        self.max_documents = recipe.first_width
        self.log: list[dict[str, object]] = []
        self.answer_loss = self.answer_tokens = 0.0
        self.resume()
        self.rng = random.Random(f"pretrain-{recipe.seed}-{self.step}")

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def resume(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.averaged = state["averaged"]
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        self.step, self.tokens = state["step"], state["tokens"]
        self.seconds = state["seconds"]
        self.max_documents = max(state["max_documents"], self.recipe.first_width)
        self.log = json.loads(state["log"])
        print(f"resumed at step {self.step}, {self.tokens / 1e6:.1f}M tokens", flush=True)

    def save(self) -> None:
        """Write the checkpoint beside the old one, then put it in its place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "max_documents": self.max_documents,
            "log": json.dumps(self.log),
        }
        fresh = self.checkpoint.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self.checkpoint)

    def train(self, seconds: float, export: Path | None) -> None:
        """Go on until the tokens of the recipe, or this many more seconds, are spent."""
        recipe = self.recipe
        batches = stream(
            lambda rng: draw(rng, self.max_documents),
            self.rng,
            self.encoder,
            recipe.tokens_per_step,
        )
        started = mark = time.monotonic()
        network.use_attention(self.model, "short_rows" if self.device == "cpu" else "sdpa")
        while self.tokens < recipe.tokens and time.monotonic() - started < seconds:
            ids_BT, weights_BT = next(batches)
            spent = max(self.tokens / recipe.tokens, (time.monotonic() - started) / seconds)
            self.advance(ids_BT.to(self.device), weights_BT.to(self.device), spent)
            if self.step % recipe.evaluate_every == 0:
                self.seconds += time.monotonic() - mark
                self.evaluate(export)
                mark = time.monotonic()
        if self.answer_tokens:
            self.seconds += time.monotonic() - mark
            self.evaluate(export)

    def advance(self, ids_BT: Tensor, weights_BT: Tensor, spent: float) -> None:
        """One optimizer step on one batch; `spent` is the share of the budget used up."""
        share = schedule(self.recipe, self.step, spent)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base"] * share
        with torch.autocast(self.device, torch.bfloat16):
            hidden_BTD = self.model.model(ids_BT[:, :-1], use_cache=False).last_hidden_state
            weights_BT = thin(weights_BT[:, 1:])
            counts_BT = weights_BT > 0
            logits_NV = self.model.lm_head(hidden_BTD[counts_BT])
        losses_N = F.cross_entropy(logits_NV.float(), ids_BT[:, 1:][counts_BT], reduction="none")
        weights_N = weights_BT[counts_BT]
        ((losses_N * weights_N).sum() / weights_N.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            keep = min(self.recipe.average, (self.step + 1) / (self.step + 10))
            torch._foreach_lerp_(list(self.averaged.values()), list(self.model.parameters()), 1 - keep)
        answers_N = weights_N >= 1.0
        self.answer_loss += losses_N[answers_N].sum().item()
        self.answer_tokens += answers_N.sum().item()
        self.step += 1
        self.tokens += ids_BT.numel()

    def evaluate(self, export: Path | None) -> None:
        """Measure the averaged weights on fresh worlds, widen if mastered, save and export."""
        raw = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.put(self.averaged)
        network.use_attention(self.model, "sdpa")
        scores = self.scores()
        if export is not None:
            save_folder(self.model, self.tokenizer, export)
        self.put(raw)
        network.use_attention(self.model, "short_rows" if self.device == "cpu" else "sdpa")
        entry = {
            "step": self.step,
            "tokens": self.tokens,
            "seconds": round(self.seconds),
            "documents": self.max_documents,
            "answer_loss": round(self.answer_loss / max(1, self.answer_tokens), 4),
            **scores,
        }
        self.answer_loss = self.answer_tokens = 0.0
        self.log.append(entry)
        print(json.dumps(entry), flush=True)
        wider = [width for width in WIDTHS if width > self.max_documents]
        if wider and scores["reversal_widest"] >= MASTERED:
            self.max_documents = wider[0]
        self.save()
        (self.folder / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in self.log))

    def put(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(weights[name])

    def scores(self) -> dict[str, float]:
        rng = random.Random(f"steer-{self.recipe.seed}-{self.step}")
        sets = {
            "reversal_1": tasks.reversals(rng, PRETRAIN, 1, 96),
            "reversal_4": tasks.reversals(rng, PRETRAIN, 4, 96),
            "reversal_widest": tasks.reversals(rng, PRETRAIN, self.max_documents, 96, 8),
            "reversal_16": tasks.reversals(rng, PRETRAIN, 16, 64, 8),
            "syllogism_1": tasks.syllogisms(rng, PRETRAIN, 1, 64),
            "syllogism_4": tasks.syllogisms(rng, PRETRAIN, 4, 48),
        }
        return {name: round(accuracy(self.model, self.encoder, items)[0], 3) for name, items in sets.items()}


def thin(weights_BT: Tensor) -> Tensor:
    """Keep one in four of the tokens that hardly count, at four times their weight.

    Predicting a token costs as much as a layer, and most tokens of a context teach little.
    """
    slight_BT = (weights_BT > 0) & (weights_BT < SLIGHT)
    kept_BT = torch.rand_like(weights_BT) < 0.25
    return torch.where(slight_BT, weights_BT * 4 * kept_BT, weights_BT)


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings, norms and biases."""
    inside = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    held = {id(p) for p in inside}
    rest = [p for p in model.parameters() if id(p) not in held]
    muon = StackedMuon(inside, recipe.matrix_rate)
    adamw = torch.optim.AdamW(rest, lr=recipe.other_rate, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["base"] = group["lr"]
    return [muon, adamw]


def schedule(recipe: Recipe, step: int, spent: float) -> float:
    """Warm-up by steps, a plateau, then a straight fall to 3 % over the last share of the budget."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return warm * max(0.03, min(1.0, (1 - spent) / recipe.decay_share))


def save_folder(model: LlamaForCausalLM, tokenizer: object, folder: Path) -> None:
    """A folder that AutoModelForCausalLM and AutoTokenizer load."""
    model.save_pretrained(folder)
    text.save(tokenizer, folder, network.WINDOW)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in asdict(Recipe()).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=value)
        else:
            parser.add_argument(flag, type=type(value), default=value)
    parser.add_argument(
        "--minutes", type=float, default=480.0, help="stop after this long, with the fall of the rates"
    )
    parser.add_argument("--export", type=Path, help="write a model folder at every evaluation")
    parser.add_argument("--smoke", action="store_true", help="a short run that checks itself")
    given = vars(parser.parse_args())
    minutes, export = given.pop("minutes"), given.pop("export")
    if given.pop("smoke"):
        # Imported late: it trains with this module's own classes.
        from smoke import smoke

        smoke()
        return
    torch.set_num_threads(1)
    recipe = Recipe(**given)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = Run(recipe, lean.HERE / "runs" / recipe.name, device)
    size = sum(p.numel() for p in run.model.parameters())
    print(f"{size} parameters, {run.tokenizer.get_vocab_size()} tokens, {device}", flush=True)
    run.train(minutes * 60, export)


if __name__ == "__main__":
    main()
