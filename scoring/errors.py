"""The errors of bulk scoring, as one tree.

    ScoringError                    ends the run
    ├── InputUnreadable             input_unreadable
    ├── InputEmpty                  input_empty
    ├── ColumnMissing               column_missing
    ├── OutputTaken                 output_taken
    ├── EngineMissing               engine_missing
    ├── ClusterUnreachable          cluster_unreachable
    ├── OptionUnavailable           option_unavailable
    └── WorkersFailed               workers_failed
    FileError                       one image, besides the `ImageError`s of serving/errors.py
    ├── FileMissing                 file_missing
    ├── FileUnreadable              file_unreadable
    ├── PredictionFailed            prediction_failed
    └── WorkerKilled                worker_killed

A `FileError`, like an `ImageError`, becomes a row with its `code` and its message.
"""

from serving.errors import ServingError


class ScoringError(ServingError):
    """The run cannot go on."""


class InputUnreadable(ScoringError):
    code = "input_unreadable"

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(
            f"{source} cannot be read: {reason}. Give a folder of images, a text file with one path a line, "
            "or a table (.csv, .parquet) with a column of paths."
        )


class InputEmpty(ScoringError):
    code = "input_empty"

    def __init__(self, source: str) -> None:
        super().__init__(f"{source} has no images: no file, or no line, that is not empty.")


class ColumnMissing(ScoringError):
    code = "column_missing"

    def __init__(self, source: str, column: str | None, found: list[str]) -> None:
        wanted = f"no column {column!r}" if column else "several columns and none of them is named 'path'"
        super().__init__(f"{source} has {wanted}. --column names one of {', '.join(found)}.")


class OutputTaken(ScoringError):
    """The folder holds the parts of another run."""

    code = "output_taken"

    def __init__(self, folder: str, differences: list[str]) -> None:
        super().__init__(
            f"{folder} has the results of another run ({'; '.join(differences)}), and parts of "
            "two runs do not fit together. Give another --out, or remove the folder."
        )


class EngineMissing(ScoringError):
    code = "engine_missing"

    def __init__(self) -> None:
        super().__init__(
            "Ray is not installed: `python -m pip install --require-hashes -r requirements/ray.txt` adds it."
        )


class ClusterUnreachable(ScoringError):
    code = "cluster_unreachable"

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"RAY_ADDRESS is {address}, and no cluster is there: {reason}. `ray start --head` prints the "
            "address of one; without RAY_ADDRESS this machine is used."
        )


class OptionUnavailable(ScoringError):
    code = "option_unavailable"

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option} cannot be used: {reason}.")


class WorkersFailed(ScoringError):
    code = "workers_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The workers cannot score: {reason}. Finished parts are kept; the same command "
            "goes on from there."
        )


class FileError(ServingError):
    """One image that could not be scored."""


class FileMissing(FileError):
    code = "file_missing"

    def __init__(self) -> None:
        super().__init__("There is no such file.")


class FileUnreadable(FileError):
    """The file cannot be read, or the server that has it cannot be reached."""

    code = "file_unreadable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The file cannot be read: {reason}.")


class PredictionFailed(FileError):
    code = "prediction_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The image could not be classified: {reason}.")


class WorkerKilled(FileError):
    """The process that scored this image alone ended: by the system, for lack of memory, or by a crash."""

    code = "worker_killed"

    def __init__(self) -> None:
        super().__init__("The process that decoded this image was killed, twice.")


# May have another cause than the image: `--retry` scores the parts with such rows again.
RETRIED = (FileMissing.code, FileUnreadable.code, PredictionFailed.code, WorkerKilled.code)
