"""A client's own ids: each takes effect once, within the window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from groupchat.core.ids import MAX_ID, WINDOW, Ids


class Remembering:
    """The obvious design: a set of every id that was ever used."""

    def __init__(self) -> None:
        self.used: set[int] = set()
        self.last = 0

    def is_forgotten(self, number: int) -> bool:
        return number <= self.last - WINDOW

    def use(self, number: int) -> bool:
        if number in self.used or self.is_forgotten(number):
            return False
        self.used.add(number)
        self.last = max(self.last, number)
        return True


NEAR = st.integers(1, 3 * WINDOW)
ANY = st.integers(1, MAX_ID)
EDGES = st.sampled_from([*(1, 2, WINDOW - 1, WINDOW, WINDOW + 1), *(MAX_ID - n for n in (0, 1, WINDOW - 1, WINDOW))])


class WindowTests(TestCase):
    @given(st.lists(NEAR | EDGES, max_size=100), st.lists(ANY | NEAR, max_size=10))
    def test_the_window_agrees_with_a_set_of_all_ids(self, near: list[int], far: list[int]) -> None:
        ids, oracle = Ids(), Remembering()
        for number in [*near, *far, *near]:
            self.assertEqual(ids.use(number), oracle.use(number), number)
            self.assertEqual(ids.last, oracle.last)
            self.assertLess(ids.mask, 1 << WINDOW)
            for other in {*range(1, 3 * WINDOW + 2), *range(max(1, ids.last - WINDOW - 2), ids.last + 3), *far}:
                self.assertEqual(ids.is_forgotten(other), oracle.is_forgotten(other), other)
                if not oracle.is_forgotten(other):
                    self.assertEqual(other in ids, other in oracle.used, other)

    def test_each_id_is_used_once(self) -> None:
        ids = Ids()
        self.assertEqual([ids.use(number) for number in (7, 3, 7, 3, 5, 8)], [True, True, False, False, True, True])
        self.assertEqual([number for number in range(1, 12) if number in ids], [3, 5, 7, 8])

    def test_an_id_that_is_too_old_is_refused_even_if_unused(self) -> None:
        ids = Ids()
        ids.use(WINDOW)
        self.assertFalse(ids.is_forgotten(1))
        ids.use(WINDOW + 1)
        self.assertTrue(ids.is_forgotten(1))
        self.assertEqual((ids.use(1), ids.use(2)), (False, True))
        self.assertNotIn(1, ids)

    def test_the_highest_id(self) -> None:
        ids = Ids()
        self.assertTrue(ids.use(1))
        self.assertTrue(ids.use(MAX_ID))
        self.assertTrue(ids.use(MAX_ID - WINDOW + 1))
        self.assertTrue(ids.is_forgotten(MAX_ID - WINDOW))
        self.assertEqual((ids.last, ids.mask), (MAX_ID, 1 << WINDOW - 1 | 1))
        self.assertFalse(ids.use(MAX_ID))
        self.assertNotIn(1, ids)

    def test_ids_are_restored_from_two_integers(self) -> None:
        ids = Ids()
        for number in (5, 70, 9, 71):
            ids.use(number)
        again = Ids(ids.last, ids.mask)
        self.assertEqual(
            [again.use(number) for number in (70, 71, 9, 5, 8, 72)], [False, False, False, False, True, True]
        )
