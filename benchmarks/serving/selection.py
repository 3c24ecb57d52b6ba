"""Which servers a run compares."""

from dataclasses import replace

from benchmarks.serving.contenders import CHOSEN_WORKERS, LONG_QUEUE, Contender, bare_limit, goldfish
from benchmarks.serving.environments import IMAGE, IMAGE_PYTHON
from benchmarks.serving.keras_cache import tutorial_cache
from benchmarks.serving.peer_contenders import peers, tutorial
from benchmarks.serving.project import Project


def all_contenders(project: Project, seconds: float, quick: bool) -> list[Contender]:
    """The rows of a run; a quick run leaves out the peers and the image's Python."""
    own = [goldfish(project, bundle, **LONG_QUEUE) for bundle in project.bundles]
    limits, app = _limits(project, seconds), tutorial(tutorial_cache(project))
    if quick:
        return [*own, *limits, app]
    in_image = [goldfish(project, bundle, IMAGE, **LONG_QUEUE) for bundle in project.bundles]
    return [*own, *map(_of_image, in_image), *limits, app, *peers(project.reference)]


def small_model_contenders(project: Project, seconds: float) -> list[Contender]:
    """The rows for a small model, whose requests spend most of their time in the server.

    Every peer has two workers. This server has one, and as many as it chooses. The tutorial's app serves only
    ImageNet's classes.
    """
    own: list[Contender] = []
    for bundle in project.bundles:
        one = goldfish(project, bundle, **LONG_QUEUE, GOLDFISH_WORKERS="1")
        own.append(replace(one, name=f"{one.name}, 1 worker", setup="1 worker"))
        chosen = goldfish(project, bundle, **LONG_QUEUE, GOLDFISH_WORKERS="0")
        own.append(replace(chosen, setup=CHOSEN_WORKERS))
        in_image = goldfish(project, bundle, IMAGE, **LONG_QUEUE, GOLDFISH_WORKERS="0")
        own.append(_of_image(replace(in_image, setup=CHOSEN_WORKERS)))
    return [*own, *_limits(project, seconds), *peers(project.reference, two_workers=True)]


def _of_image(contender: Contender) -> Contender:
    """The same under a name that tells which Python it has."""
    return replace(contender, name=f"{contender.name}, Python {IMAGE_PYTHON}")


def _limits(project: Project, seconds: float) -> list[Contender]:
    return [bare_limit(bundle, project.load_photos, seconds) for bundle in project.bundles]
