"""Datasets, and datasets made from datasets by in-context inference.

settings    what it needs beyond ServiceSettings
rows        what a row may be, by the SDK's rules: each error with row and field
intake      bytes -> checked, canonical JSONL in object storage
formats     files from outside -> documents and rows, in a process of their own
sources     files and folders of a URI
splitting   long documents -> rows: pure
importing   files -> rows, with what was skipped and why
receiving   an upload's bytes -> rows
reading     a dataset's rows out of storage
datasets    the Datasets service
tracing     rows -> what was derived of them
withdrawing rows out of a dataset for good
forgetting  outputs out of the store
sweeping    the bytes of deleted datasets go
entities    what a document is about: pure
strategies  one way to ask per file, and the dict that lists them
prompts     the prompt texts
custom      a caller's own prompts: pure
spec        what is to be derived, every default resolved
sight       which documents are read where not all are: pure
parsing     outputs -> statements: pure
gates       what a statement must pass, one gate per file: pure
dose        how much is derived, round by round: pure
derivation  outputs -> statements -> rows, with what was dropped: pure
judging     the gates that ask a model
planning    what is asked, in which order, in how many calls: pure
outputs     what was written, by what it depends on, so that nothing is asked twice
sights      which documents the prompts of these had in sight
underway    what is asked at this moment, so that two who want the same ask once
generating  a batch of prompts -> what the model writes, waiting while inference is full or away
rounds      batches side by side, each kept as it ends
asking      planned prompts -> outputs, prompts that follow on and prompts that are asked again included
rates       what earlier derivations took
estimating  what one will take: tokens, time, money
previewing  a few prompts and what becomes of them
pipeline    read -> prompt -> generate -> parse -> filter -> write
augment     the Augmenter service
"""
