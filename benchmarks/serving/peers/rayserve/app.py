"""Ray Serve on two cores.

Its documentation recommends a replica for each core, a `max_ongoing_requests` above the default of 5 for many
clients, and `RAY_SERVE_THROUGHPUT_OPTIMIZED` for many requests, which the benchmark sets. With 5 and with 1
ongoing requests it was slower. The dashboard is off to save memory.
"""

import os
from typing import Any

import ray
from classifier import Classifier
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=20)
class ImageClassifier:
    def __init__(self) -> None:
        self.classifier = Classifier()

    async def __call__(self, request: Request) -> list[dict[str, Any]]:
        return self.classifier.top(await request.body())


if __name__ == "__main__":
    ray.init(include_dashboard=False, num_cpus=2)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(ImageClassifier.bind(), blocking=True)
