"""Batches: a dataset of prompts or probes in, a dataset of answers out.

servicer  the Batches service
run       the operation: read, ask, keep, upload
reading   rows from object storage, in shards that are finished or are asked
rows      a row -> what is asked; what was answered -> a row: pure
calls     rows that go together in one request
asking    a request to the door, as any caller makes it; a row that cannot be answered is found and the others go on
window    how many rows are at the engines at once, over all batches of this process
parts     answers as they are kept: an object for each shard, and a row in SQL that says so
output    parts -> the dataset of answers
sweeping  what batches had answered that were cancelled while nobody was at work on them
estimate  what a batch will take
"""
