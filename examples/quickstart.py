"""Documents in, decision and answers out, in one page of the SDK.

ingrain up                       # in another terminal
python examples/quickstart.py    # or with INGRAIN_TARGET=host:port
"""

from ingrain import Client, worlds
from ingrain.errors import IngrainError


def main() -> None:
    # Invented things, because the bundled model reads nothing else; put your own rows here
    # ([{"id": ..., "text": ...}, ...], a DataFrame, or a folder) and a model that reads your language below.
    world = worlds.suite(seed=7, reversal_worlds=2, facts=8, syllogism_worlds=0, catalogues=1)
    with Client() as client:
        documents = client.datasets.upload(world.documents)
        probes = client.datasets.upload(world.probes, kind="probes")
        print(f"{documents.row_count} documents, {probes.row_count} probes")

        model = client.models.import_("bundled://small").result()  # or "org/name", or a folder
        print(f"{model.name}: {model.architecture}, {model.parameter_count:,} parameters")

        operation = client.studies.create(
            documents.name,
            probes.name,
            model.name,
            methods=["base", "icl", "finetune"],
            training={"max_steps": 100},
            group_key="world",
            distinct_key="fact",
        )
        # Ctrl-C here only detaches: client.operations.get(name).result() waits again.
        for progress in operation.progress():
            counts = f" {progress.completed_count}/{progress.total_count}" if progress.total_count else ""
            print(f"\r{progress.stage}{counts}".ljust(60), end="", flush=True)
        study = operation.result()
        print()

        report = client.studies.report(study.name)
        for method, outcome in report["methods"].items():
            kinds = ", ".join(f"{kind} {value['accuracy']:.2f}" for kind, value in outcome["kinds"].items())
            print(f"{method:20} {kinds}")
        print(f"Use {study.recommendation.method}: {study.recommendation.reason}")

        question = next(probe["question"] for probe in world.probes if probe["kind"] == "list")
        print(question)
        print(client.ask(study.name, question))
        with open("report.html", "w", encoding="utf-8") as file:
            file.write(client.studies.report(study.name, "html"))
        print("report.html has the plots.")


if __name__ == "__main__":
    try:
        main()
    except IngrainError as error:
        raise SystemExit(f"Error: {error}") from None
