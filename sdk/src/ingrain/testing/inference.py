"""The fake's inference: answers by shared words."""

from collections.abc import Iterator
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from ingrain.testing import words
from ingrain.testing.library import Library
from ingrain.testing.store import Work
from ingrain.v1 import common_pb2, inference_pb2, inference_pb2_grpc


class Inference(inference_pb2_grpc.InferenceServicer):
    def __init__(self, library: Library) -> None:
        self.library, self.store = library, library.store

    def Generate(self, request: Any, context: Any) -> inference_pb2.GenerateResponse:
        texts = self.library.known(request.model, request.parent, request.context)
        prompts = [*request.prompts, *map(text_of, request.inputs)]
        answers = [words.answer(prompt, texts) for prompt in prompts]
        stop = inference_pb2.Generation.STOP
        return inference_pb2.GenerateResponse(
            generations=[inference_pb2.Generation(text=a, finish_reason=stop) for a in answers],
            usage=inference_pb2.Usage(prompt_token_count=sum(map(words.token_count, prompts))),
            model=request.model,
        )

    def StreamGenerate(self, request: Any, context: Any) -> Iterator[inference_pb2.StreamGenerateResponse]:
        answered = self.Generate(request, context)
        for word in answered.generations[0].text.split():
            yield inference_pb2.StreamGenerateResponse(text=f"{word} ")
        stop = inference_pb2.Generation.STOP
        yield inference_pb2.StreamGenerateResponse(finish_reason=stop, usage=answered.usage)

    def Score(self, request: Any, context: Any) -> inference_pb2.ScoreResponse:
        texts = self.library.known(request.model, request.parent, request.context)
        response = inference_pb2.ScoreResponse(model=request.model)
        for item in request.items:
            scores = response.items.add()
            for choice in item.choices:
                total, count = words.score(item.prompt, choice, texts)
                scores.choices.add(sum_logprob=total, mean_logprob=total / count, token_count=count)
        return response

    def CountTokens(self, request: Any, context: Any) -> inference_pb2.CountTokensResponse:
        model = self.store.resources.get(request.model)
        count = words.narrow_token_count if getattr(model, "domain", "") else words.token_count
        return inference_pb2.CountTokensResponse(token_counts=[count(text) for text in request.texts])

    def GetEngine(self, request: Any, context: Any) -> inference_pb2.Engine:
        where = common_pb2.Environment(backend="fake, by shared words", device="cpu", process_count=1)
        return inference_pb2.Engine(environment=where)

    def CreateContext(self, request: Any, context: Any) -> operations_pb2.Operation:
        texts = self.library.texts(request.context.dataset)

        def make() -> operations_pb2.Operation:
            held = inference_pb2.Context(token_count=sum(map(words.token_count, texts)), row_count=len(texts))
            held.MergeFrom(request.context)
            held.name = self.store.new_name(request.parent, "contexts", request.context_id)
            return self.store.start(held, Work("CreateContext", {"reading": 1}, lambda: None))

        return self.store.once(request, make)

    def GetContext(self, request: Any, context: Any) -> inference_pb2.Context:
        return self.store.get(request.name)

    def ListContexts(self, request: Any, context: Any) -> inference_pb2.ListContextsResponse:
        found, token = self.store.page(request.parent, "contexts", request)
        return inference_pb2.ListContextsResponse(contexts=found, next_page_token=token)

    def DeleteContext(self, request: Any, context: Any) -> empty_pb2.Empty:
        self.store.delete(request.name)
        return empty_pb2.Empty()


def text_of(given: inference_pb2.Input) -> str:
    """What is asked last; token ids say nothing to a model of words."""
    return given.text or (given.chat.messages[-1].content if given.chat.messages else "")
