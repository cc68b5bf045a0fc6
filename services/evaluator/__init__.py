"""Scores a subject (a model, or a model with documents in its context) on probes.

settings    what it needs beyond ServiceSettings
inputs      what an evaluation names, checked and read
probes      rows of a PROBES or DOCUMENTS dataset as values
texts       texts as wholes, in windows
documents   what is in the context of each group
metrics     scores in, numbers out: pure (what is written is matched by ingrain.matching)
statistics  means, intervals, ratios: pure
estimate    what asking will take
asking      probes -> Score and Generate calls -> what the model gave -> rows
answers     what the model gave, kept under a digest of all that it depends on
judging     written answers -> verdicts of another model
run         the operation: batches, results, summary
summary     rows -> numbers per kind
writing     probes written by a model, and checked
compare     differences between evaluations of the same probes
servicer    the Evaluator service
"""
