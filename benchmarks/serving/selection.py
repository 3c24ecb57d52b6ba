"""Which servers a run compares."""

from dataclasses import replace

from benchmarks.serving.contenders import LONG_QUEUE, Contender, bare_limit, goldfish
from benchmarks.serving.peer_contenders import peers, tutorial
from benchmarks.serving.project import Project


def all_contenders(project: Project, seconds: float, quick: bool) -> list[Contender]:
    """The rows of a run; a quick run leaves out the peers."""
    own = [goldfish(project, bundle, **LONG_QUEUE) for bundle in project.bundles]
    limits = [bare_limit(bundle, project.load_photos, seconds) for bundle in project.bundles]
    return [*own, *limits, tutorial(), *([] if quick else peers(project.reference))]


def small_model_contenders(project: Project, seconds: float) -> list[Contender]:
    """The rows for a small model, whose requests spend most of their time in the server.

    Every peer has two workers. This server has one, and as many as it chooses. The tutorial's app serves only
    ImageNet's classes.
    """
    own = [goldfish(project, bundle, **LONG_QUEUE) for bundle in project.bundles]
    limits = [bare_limit(bundle, project.load_photos, seconds) for bundle in project.bundles]
    rows: list[Contender] = []
    for contender in own:
        for workers, setup in (("1", "1 worker"), ("0", "as many workers as it chooses")):
            variables = {**contender.variables, "GOLDFISH_WORKERS": workers}
            name = contender.name if workers == "0" else f"{contender.name}, {setup}"
            rows.append(replace(contender, name=name, setup=setup, variables=variables))
    return [*rows, *limits, *peers(project.reference, mlflow_workers=2)]
