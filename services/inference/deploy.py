"""`python -m services.inference.deploy`: engines, and Serve's gRPC proxy before them, on the Ray cluster of RAY_ADDRESS.

What a RayService does on Kubernetes; for doors with `INGRAIN_INFERENCE_BACKEND=proxy`. Ends when the engines run; they stay.
"""

import ray
from ray import serve
from ray.serve.config import gRPCOptions

from services.inference import app
from services.inference.settings import InferenceSettings

SERVICER = "services.inference.serveproxy.add_engine_servicer_to_server"


def main(settings: InferenceSettings) -> None:
    ray.init(address="auto", namespace="ingrain", log_to_driver=False, configure_logging=False)
    port = int(settings.serve_proxy.rsplit(":", 1)[1])
    serve.start(
        # Serve has no gRPC proxy without one for HTTP; nothing is routed there.
        http_options={"location": "EveryNode", "host": "127.0.0.1", "port": settings.serve_http_port},
        grpc_options=gRPCOptions(port=port, grpc_servicer_functions=[SERVICER]),
    )
    # The gRPC proxy, too, knows applications that have a route only.
    serve.run(app.build(settings), name=app.NAME, route_prefix=f"/{app.NAME}")
    ray.shutdown()


if __name__ == "__main__":
    main(InferenceSettings())
