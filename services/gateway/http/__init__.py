"""OpenAI's HTTP interface beside gRPC, in front of the same services, keys and limits.

app          routes, TLS, start and graceful end
calls        what each HTTP call passes: request id, place, one log line, errors
backends     one HTTP call's way to the services behind the gateway
errors       statuses of gRPC -> OpenAI's errors
bodies       a JSON body -> a checked value; nothing that would change an answer is passed over
names        model names as callers write them -> names that inference takes
completions  /v1/completions <-> ingrain.v1.Inference
chat         /v1/chat/completions <-> ingrain.v1.Inference
logprobs     log-probabilities in OpenAI's two forms
generating   asks, whole or as a stream of events
events       server-sent events, several streams side by side
models       /v1/models
batch_rows   lines of OpenAI's batch files <-> rows of datasets
files        /v1/files over ingrain.v1.Datasets
batches      /v1/batches over ingrain.v1.Batches
"""
