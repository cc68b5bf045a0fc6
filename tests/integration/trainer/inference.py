"""Inference as plain transformers and peft would do it, for the trainer's tests: log-probabilities of given tokens, from a model's files."""

import asyncio
import tempfile
from pathlib import Path

import grpc

from ingrain.v1 import inference_pb2, inference_pb2_grpc
from servicekit.storage import open_storage
from services.trainer import files
from services.trainer.settings import TrainerSettings


class Inference(inference_pb2_grpc.InferenceServicer):
    """`trainer`: the process whose models are asked. `harm(logprobs)` may change what is said; `away`: it answers nothing."""

    def __init__(self):
        self.trainer = None
        self.away = False
        self.harm = lambda logprobs: logprobs
        self.asked = []

    async def GetEngine(self, request, context):
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no inference here")
        engine = inference_pb2.Engine()
        engine.environment.dtype = "float32"
        return engine

    async def Generate(self, request, context):
        assert request.prompt_logprobs
        self.asked.append(request.model)
        async with self.trainer.client() as client:
            model = await client.models.get(request.model)
            base = await client.models.get(model.base_model) if model.adapter else None
        with tempfile.TemporaryDirectory() as name:
            folders = [await self.fetched(one, Path(name) / one.sha256) for one in (model, base) if one]
            texts = [list(given.token_ids.ids) for given in request.inputs]
            found = await asyncio.to_thread(logprobs_of, folders, texts)
        response = inference_pb2.GenerateResponse(model=request.model)
        for text, logprobs in zip(texts, found, strict=True):
            tokens = [inference_pb2.TokenLogprob(id=text[0])]
            tokens += [
                inference_pb2.TokenLogprob(id=id, logprob=logprob)
                for id, logprob in zip(text[1:], self.harm(logprobs), strict=True)
            ]
            response.generations.add(prompt_tokens=tokens)
        return response

    async def fetched(self, model, folder):
        variables = self.trainer.environment.items()
        settings = TrainerSettings(
            **{
                key.removeprefix("INGRAIN_").lower(): value
                for key, value in variables
                if key.startswith("INGRAIN_")
            }
        )
        storage = open_storage(settings)
        return await files.fetch(storage, files.home(storage, model), folder, settings=settings)


def logprobs_of(folders, texts):
    """`folders`: the model's, and its base's where it is an adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folders[-1], dtype=torch.float32)
    if len(folders) == 2:
        model = PeftModel.from_pretrained(model, folders[0])
    found = []
    for text in texts:
        with torch.no_grad():
            logits = model.eval()(torch.tensor([text])).logits[0, :-1]
        rows = logits.log_softmax(-1)
        found.append([rows[place, id].item() for place, id in enumerate(text[1:])])
    return found
