"""Text and probabilities out; contexts held warm. The door is light; the engine lives in Ray Serve.

settings    what it needs beyond ServiceSettings
wire        what door and engine say to each other: plain values
servicer    the Inference service (the door)
names       model names, virtual ones too -> ModelRef and context
aliases     aliases/: names that stay while what answers behind them changes
gates       what a target must be measured to reach
alias_servicer  the Aliases service
contexts    contexts/ as resources: select, render, refuse what is too long, prefill
batches     batches/: very many questions, kept as they are answered
backend     how the door reaches engines: in process, or
rayserve    replicas of the application by Serve's handle, or
serveproxy  by Serve's gRPC proxy, without Ray
deploy      engines and proxy on a cluster, for doors that do not deploy them
endpoints   models that other servers answer for, reached like an engine
completions what is said to such servers
app         the Ray Serve application
messages    the service's messages <-> values of wire
engine/     one replica: everything that computes
"""
