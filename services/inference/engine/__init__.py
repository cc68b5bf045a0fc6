"""One replica of the transformers engine: everything that computes. Knows nothing of Ray or gRPC.

replica     the engine's methods, as the door calls them
scheduler   one thread that computes: who comes next
lanes       sequences of one model at work together: what one forward pass is made of
sequences   what a sequence feeds and receives
reading     a context that is read
scoring     log-likelihoods of choices, a tree for each question
writing     greedy and sampled decoding, token by token
sampling    logits -> a token and its log-probability
schemas     outputs that keep to a JSON schema
attention   many sequences in one row, over shared prefixes and their own pasts
shelves     keys and values of sequences at work
prefix      keys and values of contexts, in memory and on disk
plain       architectures that cannot share a row: one sequence at a time
models      weights in memory, least recently used ones leave
adapters    LoRA adapters beside shared weights, many in one pass
files       a model's files from object storage, checked
render      documents + prompt + choice -> token ids
heads       beginnings that many texts share, tokenised once
seeds       a random stream for each prompt
detokenise  token ids -> text, a token at a time
"""
