"""What the service config must know of the contract."""

from google.protobuf import descriptor_pool

from ingrain import client
from ingrain.channel import SERVICE_CONFIG


def test_uploads_and_the_making_of_keys_have_no_retry_policy() -> None:
    """gRPC aborts the process where one has (see `ingrain.uploading`)."""
    unretried = {
        (name["service"], name["method"])
        for config in SERVICE_CONFIG["methodConfig"]
        if "retryPolicy" not in config
        for name in config["name"]
    }
    pool = descriptor_pool.Default()
    modules = [
        value
        for name, value in vars(client).items()
        if name.endswith("_pb2_grpc") and "operations" not in name
    ]
    services = {
        pool.FindServiceByName(f"ingrain.v1.{name.removesuffix('Stub')}")
        for module in modules
        for name in vars(module)
        if name.endswith("Stub")
    }
    streaming = {
        (service.full_name, method.name)
        for service in services
        for method in service.methods
        if method.client_streaming
    }
    assert ("ingrain.v1.Trainer", "UploadModelPart") in streaming
    # A key that is made twice is one whose secret nobody has.
    assert streaming | {("ingrain.v1.Keys", "CreateKey")} == unretried
