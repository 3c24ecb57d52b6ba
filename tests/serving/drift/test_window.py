"""The window keeps the last answers and no others, in memory that does not grow, from all threads."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from serving.drift.window import WINDOW, AnswerWindow


def test_answers_are_kept_as_they_were() -> None:
    window = AnswerWindow()
    window.add(2, 0.75, -3.5, 0.25, 640.5)
    window.add(1, 0.5, None, 1.0, None)
    answers = window.answers()
    assert answers.classes.tolist() == [2, 1]
    assert answers.confidence.tolist() == [0.75, 0.5]
    assert answers.brightness.tolist() == [0.25, 1.0]
    assert [answers.energy[0], answers.size[0]] == [-3.5, 640.5]
    assert np.isnan([answers.energy[1], answers.size[1]]).all()


def test_an_empty_window_has_no_answers() -> None:
    window = AnswerWindow()
    assert len(window) == 0
    assert [len(column) for column in window.answers()] == [0] * 5


def test_only_the_last_ones_are_kept() -> None:
    window = AnswerWindow()
    for number in range(2 * WINDOW + 7):
        window.add(number, 0.5, 0.0, 0.5, 10.0)
    assert (len(window), window.total) == (WINDOW, 2 * WINDOW + 7)
    assert sorted(window.answers().classes) == list(range(WINDOW + 7, 2 * WINDOW + 7))


def test_memory_is_fixed() -> None:
    window = AnswerWindow()
    size = sys.getsizeof(window._buffer)
    for number in range(3 * WINDOW):
        window.add(number, number / 7, number / 3, number / 9, number / 11)
    assert sys.getsizeof(window._buffer) == size < 50 * WINDOW


def test_threads_lose_no_answer_and_mix_none() -> None:
    window, threads, each = AnswerWindow(), 8, 4 * WINDOW
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
