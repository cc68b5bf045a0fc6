"""The services, one folder each. They never import one another; they talk through the gateway.

gateway    who are you, may you, how much; passes bytes on by method name
augmenter  datasets/: imports documents, derives datasets
trainer    models/: imports base models, fine-tunes on Ray Train
inference  contexts/: generates, scores, holds contexts, on Ray Serve
evaluator  evaluations/: scores a subject on probes
studies    studies/: compares the ways, decides, reports

`python -m services` runs all of them on this machine.
"""
