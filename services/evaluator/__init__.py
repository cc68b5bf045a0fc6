"""Scores a subject (a model, or a model with documents in its context) on probes.

settings    what it needs beyond ServiceSettings
probes      rows of a PROBES dataset as values
metrics     scores of choices in, numbers out: pure (what is written is matched by ingrain.matching)
statistics  means, intervals, paired differences: pure
estimate    what asking will take
asking      probes -> Score and Generate calls -> answers
judging     written answers -> verdicts of another model
run         the operation: contexts, batches, results, summary
compare     differences between evaluations of the same probes
servicer    the Evaluator service
"""
