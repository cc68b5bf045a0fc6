"""The second engine: vLLM on GPU nodes, behind the same methods and values as `services.inference.engine`.

replica   the engine's methods over vLLM's AsyncLLM
models    what texts of a model need on their way in and out
scoring   questions with choices, look by look
trees     choices -> looks at the next token's probabilities, which never lose the prefix cache: pure
requests  values of wire <-> what vLLM takes and gives
adapters  LoRA adapters from object storage, each under a number of its own
app       the Ray Serve application, by ray.serve.llm
routing   which replica a call goes to: by what it begins with
ingress   what Serve's gRPC proxy asks, and what leads its calls on
backend   how a door on the cluster asks the replicas
"""
