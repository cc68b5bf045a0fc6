"""Scores a subject (a model, or a model with documents in its context) on probes.

settings    what it needs beyond ServiceSettings
probes      rows of a PROBES dataset as values
metrics     answers in, numbers out: pure
statistics  means, intervals, paired differences: pure
estimate    what asking will take
asking      probes -> Score and Generate calls -> answers
run         the operation: contexts, batches, results, summary
compare     differences between evaluations of the same probes
servicer    the Evaluator service
"""
