"""The window keeps the last answers and no others, in memory that does not grow, from all threads."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.drift.window import WINDOW, AnswerWindow
from serving.workers.shared_folder import SharedFolder


@pytest.fixture
def folder(tmp_path: Path) -> SharedFolder:
    return SharedFolder.create(tmp_path)


def test_answers_are_kept_as_they_were(folder: SharedFolder) -> None:
    window = AnswerWindow(folder, "tests")
    window.add(2, 0.75, -3.5, 0.25, 640.5)
    window.add(1, 0.5, None, 1.0, None)
    answers = window.answers()
    assert answers.classes.tolist() == [2, 1]
    assert answers.confidence.tolist() == [0.75, 0.5]
    assert answers.brightness.tolist() == [0.25, 1.0]
    assert [answers.energy[0], answers.size[0]] == [-3.5, 640.5]
    assert np.isnan([answers.energy[1], answers.size[1]]).all()


def test_an_empty_window_has_no_answers(folder: SharedFolder) -> None:
    window = AnswerWindow(folder, "tests")
    assert len(window) == 0
    assert [len(column) for column in window.answers()] == [0] * 5


def test_only_the_last_ones_are_kept(folder: SharedFolder) -> None:
    window = AnswerWindow(folder, "tests")
    for number in range(2 * WINDOW + 7):
        window.add(number, 0.5, 0.0, 0.5, 10.0)
    assert (len(window), window.total) == (WINDOW, 2 * WINDOW + 7)
    assert sorted(window.answers().classes) == list(range(WINDOW + 7, 2 * WINDOW + 7))


def test_memory_is_fixed(folder: SharedFolder) -> None:
    window = AnswerWindow(folder, "tests")
    size = sys.getsizeof(window._buffer)
    for number in range(3 * WINDOW):
        window.add(number, number / 7, number / 3, number / 9, number / 11)
    assert sys.getsizeof(window._buffer) == size
    (file,) = folder.path.iterdir()
    assert file.stat().st_size < 60 * WINDOW


def test_threads_lose_no_answer_and_mix_none(folder: SharedFolder) -> None:
    window, threads, each = AnswerWindow(folder, "tests"), 8, 4 * WINDOW
    interval = sys.getswitchinterval()
    # Threads change places as often as possible.
    sys.setswitchinterval(1e-6)

    def add(thread: int) -> None:
        for _ in range(each):
            window.add(thread, float(thread), float(thread), float(thread), float(thread))

    try:
        with ThreadPoolExecutor(threads + 1) as pool:
            adding = [pool.submit(add, thread) for thread in range(threads)]
            while not all(done.done() for done in adding):
                answers = window.answers()
                assert all(np.array_equal(answers.classes, column) for column in answers)
            for done in adding:
                done.result()
    finally:
        sys.setswitchinterval(interval)
    assert window.total == threads * each


def test_workers_share_the_last_answers(folder: SharedFolder) -> None:
    first = AnswerWindow(folder, "tests")
    folder.worker = 1
    second = AnswerWindow(folder, "tests")
    for number in range(WINDOW):
        first.add(1, 0.5, 0.0, 0.5, 10.0)
        if number >= 900:
            second.add(2, 0.5, 0.0, 0.5, 10.0)
    for window in (first, second):
        assert window.total == WINDOW + 100
        assert np.bincount(window.answers().classes).tolist() == [0, 900, 100]
    # One that takes the place of another goes on with its answers.
    assert AnswerWindow(folder, "tests").total == WINDOW + 100
