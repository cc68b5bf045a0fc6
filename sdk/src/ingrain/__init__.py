"""Ingrain: what is the best way to get a language model to know your documents, and what does it cost?"""

from ingrain import errors
from ingrain.client import AsyncClient
from ingrain.operation import AsyncOperation
from ingrain.sync import Client, Operation
from ingrain.tls import TLS

__all__ = ["TLS", "AsyncClient", "AsyncOperation", "Client", "Operation", "errors"]
