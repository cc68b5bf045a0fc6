"""The front door: who are you, may you, how much; then bytes are passed on by method name.

settings   backends, tokens, TLS
routes     service -> backend, collection -> backend (for operations)
auth       credentials -> Caller
tokens     tokens of identity providers (OIDC), whose public keys signing_keys holds
http       OpenAI's interface beside gRPC
limits     concurrency per project, nested calls apart
callers    what every call passes: auth, read-only keys, limits
proxy      forwards any method as bytes, unary and streams alike
projects   Projects and Keys, the only services of its own
"""
