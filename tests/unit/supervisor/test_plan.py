"""What each process of a platform on one machine is told."""

import socket
from pathlib import Path

import pytest

from services.supervisor.cli import main, parser
from services.supervisor.plan import SERVICES, Options, Plan, free_ports, make_plan

TOKENS = ("INGRAIN_SERVICE_TOKEN", "INGRAIN_GATEWAY_TOKEN", "RAY_AUTH_TOKEN")


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    for name in ("INGRAIN_DATABASE_URL", "INGRAIN_IMPORT_ROOT", "INGRAIN_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    return make_plan(Options(data_dir=tmp_path, port=0, http_port=0), ray_temp=tmp_path / "ray")


def test_every_service_has_its_own_port_and_database(plan: Plan) -> None:
    assert tuple(child.name for child in plan.services) == SERVICES
    for name in ("INGRAIN_PORT", "INGRAIN_DATABASE_URL", "INGRAIN_SCRATCH"):
        assert len({child.variables[name] for child in plan.services}) == len(SERVICES)


def test_the_gateway_knows_where_the_others_listen(plan: Plan) -> None:
    gateway, *others = plan.services
    for child in others:
        assert gateway.variables[f"INGRAIN_BACKEND_{child.name.upper()}"] == f"127.0.0.1:{child.port}"
        assert child.variables["INGRAIN_GATEWAY"] == plan.gateway == f"127.0.0.1:{gateway.port}"


def test_http_has_a_port_beside_all_others(plan: Plan, tmp_path: Path) -> None:
    gateway = plan.services[0]
    assert plan.http == f"http://127.0.0.1:{gateway.variables['INGRAIN_HTTP_PORT']}/v1"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        wished = probe.getsockname()[1]
    made = make_plan(Options(data_dir=tmp_path, port=0, http_port=wished), tmp_path)
    assert made.http == f"http://127.0.0.1:{wished}/v1"
    assert parser().parse_args([]).http_port == 7080


def test_all_share_tokens_that_no_log_can_show(plan: Plan) -> None:
    children = [*plan.services, plan.ray]
    for name in TOKENS:
        (token,) = {child.variables[name] for child in children}
        assert len(bytes.fromhex(token)) == 32
        assert token not in repr(plan)
        assert all(token not in word for child in children for word in child.command)


def test_tokens_are_new_each_time(tmp_path: Path) -> None:
    plans = [make_plan(Options(data_dir=tmp_path, port=0), tmp_path) for _ in range(2)]
    for name in TOKENS:
        assert len({plan.services[0].variables[name] for plan in plans}) == 2


def test_ray_is_a_head_of_its_own(plan: Plan) -> None:
    assert plan.ray
    assert "RAY_ADDRESS" not in plan.ray.variables
    assert plan.ray.variables["RAY_AUTH_MODE"] == "token"
    ports = [word.rpartition("=")[2] for word in plan.ray.command if "port=" in word]
    assert len(ports) == len(set(ports))
    assert f"--port={plan.ray.port}" in plan.ray.command
    assert plan.services[0].variables["RAY_ADDRESS"] == f"127.0.0.1:{plan.ray.port}"


def test_threads_are_one_each(plan: Plan) -> None:
    assert {child.variables["OMP_NUM_THREADS"] for child in plan.services} == {"1"}


@pytest.mark.parametrize(
    ("given", "variable", "told"),
    [("/elsewhere", None, "/elsewhere"), (None, "/by/variable", "/by/variable"), (None, None, "")],
)
def test_where_files_may_be_imported_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    variable: str | None,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if variable:
        monkeypatch.setenv("INGRAIN_IMPORT_ROOT", variable)
    else:
        monkeypatch.delenv("INGRAIN_IMPORT_ROOT", raising=False)
    root = Path(given) if given else None
    made = make_plan(Options(data_dir=tmp_path, port=0, import_root=root), tmp_path)
    assert made.import_root == made.services[0].variables["INGRAIN_IMPORT_ROOT"] == (told or str(tmp_path))


def test_a_wished_port_that_is_taken_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        wished = taken.getsockname()[1]
        ports = free_ports(3, first=wished)
    assert wished not in ports
    assert len(set(ports)) == 3


def test_some_services_may_be_left_out(tmp_path: Path) -> None:
    made = make_plan(
        Options(data_dir=tmp_path, port=0, services=("gateway", "studies"), with_ray=False), tmp_path
    )
    assert [child.name for child in made.services] == ["gateway", "studies"]
    assert made.ray is None


def test_names_of_services_are_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--data-dir", str(tmp_path), "--only", "gateway,nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err
    assert parser().parse_args(["--without", "trainer, studies"]).without == ("trainer", "studies")


def test_stopping_what_does_not_run_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["stop", "--data-dir", str(tmp_path)]) == 1
    assert "no platform runs" in capsys.readouterr().err
